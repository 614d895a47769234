"""Errors of the catalogue, each with what Lambda's API answers for it. The class docstring is the default message.

``code`` is AWS's exception, ``status`` the HTTP status, ``message_key`` the body's key for the message, ``type`` its
``Type`` (empty: the body has none). Source: Lambda API, and its answers as recorded.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence


class CatalogueError(Exception):
    """The catalogue could not do what was asked."""

    code = "ServiceException"
    status = 500
    message_key = "Message"
    type = "Service"

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or inspect.cleandoc(type(self).__doc__ or "").split("\n\n", 1)[0].replace("\n", " "))


class InvalidParameterValue(CatalogueError):
    """A parameter has a value that it cannot take."""

    code, status, message_key, type = "InvalidParameterValueException", 400, "message", "User"


class CodeDiffers(InvalidParameterValue):
    """``given`` and ``current`` are SHA-256 in base64."""

    def __init__(self, given: str, current: str) -> None:
        super().__init__(
            f"CodeSHA256 ({given}) is different from current CodeSHA256 in $LATEST ({current}). Please try again with the "
            "CodeSHA256 in $LATEST."
        )


class UnreservedConcurrencyTooLow(InvalidParameterValue):
    """Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its
    minimum value of [100]."""

    type = ""


class ValidationFailed(CatalogueError):
    """A parameter does not satisfy a constraint.

    ``problems`` are sentences such as ``Value '0' at 'timeout' failed to satisfy constraint: …``.
    """

    code, status, message_key, type = "ValidationException", 400, "message", ""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        count = "1 validation error" if len(problems) == 1 else f"{len(problems)} validation errors"
        super().__init__(f"{count} detected: {'; '.join(problems)}")


class FunctionExists(CatalogueError):
    """``name`` exists already."""

    code, status, message_key, type = "ResourceConflictException", 409, "message", "User"

    def __init__(self, name: str) -> None:
        super().__init__(f"Function already exist: {name}")


class NotFound(CatalogueError):
    """The resource you requested does not exist."""

    code, status, type = "ResourceNotFoundException", 404, "User"


class FunctionNotFound(NotFound):
    """``arn`` is the function's, with the qualifier that was asked for."""

    def __init__(self, arn: str) -> None:
        super().__init__(f"Function not found: {arn}")


class AliasNotFound(NotFound):
    """There is no alias of this name. Make it with CreateAlias."""


class AliasExists(CatalogueError):
    """``arn`` is the alias's."""

    code, status, message_key, type = "ResourceConflictException", 409, "message", "User"

    def __init__(self, arn: str) -> None:
        super().__init__(f"Alias already exists: {arn}")


class VersionInUse(CatalogueError):
    """``arn`` is the version's, ``aliases`` the names of those that point at it."""

    code, status, message_key, type = "ResourceConflictException", 409, "message", "User"

    def __init__(self, arn: str, aliases: Sequence[str]) -> None:
        self.aliases = tuple(aliases)
        super().__init__(
            f"Unable to delete version {arn} because the following aliases reference it: [{', '.join(aliases)}]. Point them "
            "at another version, or delete them, and try again."
        )


class ProvisionedConcurrencyConfigNotFound(CatalogueError):
    """No Provisioned Concurrency Config found for this function"""

    code, status, message_key, type = "ProvisionedConcurrencyConfigNotFoundException", 404, "message", "User"


class ProvisionedTwice(CatalogueError):
    """A version and an alias that points at it cannot both have provisioned concurrency. Delete one of them first."""

    code, status, message_key, type = "ResourceConflictException", 409, "message", "User"


class EventInvokeConfigNotFound(NotFound):
    """``arn`` is the function's, with its qualifier; None when the function itself is missing."""

    def __init__(self, arn: str | None) -> None:
        super().__init__(
            f"The function {arn} doesn't have an EventInvokeConfig" if arn else "The function doesn't exist."
        )


class BucketNotFound(NotFound):
    """There is no such bucket. Name it in FNRUNNER_BUCKETS, or with --bucket NAME=DIR."""

    code = "NoSuchBucket"

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no bucket {name}. Name it in FNRUNNER_BUCKETS, or with --bucket {name}=DIR")


class BucketInUse(CatalogueError):
    """Notifications refer to the bucket: ``functions`` are those that it invokes."""

    code, status, message_key, type = "BucketInUse", 409, "message", "User"
    remedy = "Deploy the functions without these events, or remove them, and try again."

    def __init__(self, name: str, functions: Sequence[str]) -> None:
        self.functions = tuple(functions)
        super().__init__(f"The bucket {name} invokes {', '.join(functions)}")


class MappingExists(CatalogueError):
    """An event source mapping of this source and function exists. Update or delete it; ``uuid`` names it."""

    code, status, message_key, type = "ResourceConflictException", 409, "message", "User"

    def __init__(self, what: str, uuid: str) -> None:
        self.uuid = uuid
        super().__init__(f"{what} already exists. Please update or delete the existing mapping with UUID {uuid}")


class MappingInUse(CatalogueError):
    """Cannot update the event source mapping because it is in use."""

    code, status, type = "ResourceInUseException", 400, "User"

    def __init__(self, verb: str) -> None:
        super().__init__(f"Cannot {verb} the event source mapping because it is in use.")


class TriggerExists(CatalogueError):
    """Something of that name exists already. Remove it first, or choose another name."""

    code, status, message_key, type = "ResourceConflictException", 409, "message", "User"


class LayerVersionNotFound(NotFound):
    """``arn`` is the layer version's."""

    def __init__(self, arn: str) -> None:
        super().__init__(f"Layer version {arn} does not exist.")


class StatementExists(CatalogueError):
    """``sid`` is the statement's."""

    code, status, message_key, type = "ResourceConflictException", 409, "message", "User"

    def __init__(self, sid: str) -> None:
        super().__init__(
            f"The statement id ({sid}) provided already exists. Please provide a new statement id, or remove the existing "
            "statement."
        )


class PolicyTooLong(CatalogueError):
    """The final policy size is bigger than the limit (20480)."""

    code, status, message_key, type = "PolicyLengthExceededException", 400, "message", "User"


class PolicyNotFound(NotFound):
    """The resource you requested does not exist."""


class PolicyRevisionDiffers(CatalogueError):
    """``operation`` is the one that says the current revision."""

    code, status, message_key, type = "PreconditionFailedException", 412, "message", "User"

    def __init__(self, operation: str) -> None:
        super().__init__(
            f"The Revision Id provided does not match the latest Revision Id. Call the {operation} API to retrieve the latest "
            "Revision Id"
        )


class CodeSigningConfigNotFound(CatalogueError):
    """``arn`` is what was to be attached to a function."""

    code, status, type = "CodeSigningConfigNotFoundException", 404, "User"

    def __init__(self, arn: str) -> None:
        super().__init__(
            f"The code signing configuration cannot be found. Check that the provided configuration is not deleted: {arn}."
        )


class CodeSigningConfigMissing(NotFound):
    """``arn`` is what was asked for."""

    type = ""

    def __init__(self, arn: str) -> None:
        super().__init__(f"The Lambda code signing configuration {arn} can not be found.")


class CodeSigningConfigInUse(CatalogueError):
    """Cannot delete the code signing configuration because functions use it. Remove it from them first."""

    code, status, message_key, type = "ResourceConflictException", 409, "message", "User"

    def __init__(self, arn: str, functions: Sequence[str]) -> None:
        self.functions = tuple(functions)
        super().__init__(
            f"Cannot delete the code signing configuration {arn} because functions use it: {', '.join(functions)}. Remove it "
            "from them first."
        )


class CodeVerificationFailed(CatalogueError):
    """The code signature failed one or more of the validation checks for signature mismatch or signature expiry, and the
    code signing policy is set to ENFORCE. Lambda blocks the deployment."""

    code, status, type = "CodeVerificationFailedException", 400, "User"

    def __init__(self, why: str) -> None:
        super().__init__(
            "The code signature failed one or more of the validation checks for signature mismatch or signature expiry, and "
            f"the code signing policy is set to ENFORCE. Lambda blocks the deployment. ({why})"
        )


class InvalidCodeSignature(CatalogueError):
    """The code signature failed the integrity check. If the integrity check fails, then Lambda blocks deployment, even if
    the code signing policy is set to WARN."""

    code, status, type = "InvalidCodeSignatureException", 400, "User"

    def __init__(self, why: str) -> None:
        super().__init__(
            "The code signature failed the integrity check. If the integrity check fails, then Lambda blocks deployment, even "
            f"if the code signing policy is set to WARN. ({why})"
        )


class PreconditionFailed(CatalogueError):
    """The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to retrieve the
    latest Revision Id"""

    code, status, message_key, type = "PreconditionFailedException", 412, "message", "User"


class ZipTooLarge(CatalogueError):
    """Zipped size must be smaller than 52428800 bytes"""

    code, status, message_key, type = "RequestEntityTooLargeException", 413, "message", ""


class UnzippedTooLarge(InvalidParameterValue):
    """Unzipped size must be smaller than 262144000 bytes"""


class EmptyArchive(InvalidParameterValue):
    """Uploaded file must be a non-empty zip"""


class BadArchive(InvalidParameterValue):
    """``entry`` is the name in the zip (empty: the zip as a whole), ``fault`` what is wrong with it."""

    def __init__(self, fault: str, entry: str = "") -> None:
        self.entry = entry
        self.fault = fault
        where = f"{entry!r} " if entry else ""
        super().__init__(
            f"Could not unzip uploaded file. Please check your file, then try to upload again. ({where}{fault})"
        )


class ArtifactError(CatalogueError):
    """The store of artifacts cannot be used now. Look at its directory: it may be full, or not writable."""


class ArtifactMissing(ArtifactError):
    """The function's code is not among the artifacts. Upload the code again."""


class ArtifactDamaged(ArtifactError):
    """The function's code was changed on disk. Upload the code again."""
