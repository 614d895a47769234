"""What IAM and STS answer when they will not do something. ``code`` is theirs, ``status`` the HTTP status."""

from __future__ import annotations

import inspect


class IamError(Exception):
    """IAM could not do what was asked."""

    code = "ServiceFailure"
    status = 500

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or inspect.cleandoc(type(self).__doc__ or "").split("\n\n", 1)[0].replace("\n", " "))


class NoSuchEntity(IamError):
    """It does not exist."""

    code, status = "NoSuchEntity", 404


class EntityAlreadyExists(IamError):
    """It exists already."""

    code, status = "EntityAlreadyExists", 409


class DeleteConflict(IamError):
    """It has something that must be taken away first."""

    code, status = "DeleteConflict", 409


class LimitExceeded(IamError):
    """There are as many as there may be."""

    code, status = "LimitExceeded", 409


class MalformedPolicyDocument(IamError):
    """The policy document is not one of IAM's."""

    code, status = "MalformedPolicyDocument", 400


class InvalidInput(IamError):
    """A parameter has a value that it cannot take."""

    code, status = "InvalidInput", 400


class ValidationError(IamError):
    """Parameters do not satisfy the API model."""

    code, status = "ValidationError", 400


class AccessDenied(IamError):
    """You are not allowed to do this."""

    code, status = "AccessDenied", 403
