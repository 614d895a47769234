"""Whether the encryption key that a function names can be used."""

from __future__ import annotations

from fnrunner.api.errors import InvalidParameter
from fnrunner.api.services import Services
from fnrunner.auth.keyring import KeyringError


async def check(services: Services, arn: str | None) -> None:
    """Raises InvalidParameter, in Lambda's words, for a key that is not there or disabled. None and empty are no key."""
    if not arn:
        return
    if services.keyring is None:
        raise InvalidParameter(
            "KMSKeyArn needs encryption at rest, which is off here. Start with FNRUNNER_MASTER_KEY_FILE or FNRUNNER_AUTH=iam."
        )
    try:
        # it may have been made by another process a moment ago
        await services.keyring.load()
        services.keyring.check(arn)
    except KeyringError as error:
        raise InvalidParameter(
            "Lambda was unable to configure access to your environment variables because the KMS key is invalid. Please check "
            f"your KMS key settings. KMS Exception: {error.code} KMS Message: {error}"
        ) from error
