"""Which function a request names: by name, partial ARN or ARN, with the qualifier in the name or beside it.

Source: Lambda API, FunctionName and Qualifier.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fnrunner.api.errors import ApiError, Forbidden, InvalidParameter, ResourceNotFound
from fnrunner.model import limits
from fnrunner.model.arn import FunctionRef, Home, InvalidArn

MAX_NAME_CHARS = 64


class NameTooLong(InvalidParameter):
    """The name alone may have 64 characters, whatever the model lets an ARN have. Lambda gives it this code."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"1 validation error detected: Value '{name}' at 'functionName' failed to satisfy constraint: "
            f"Member must have length less than or equal to {MAX_NAME_CHARS}"
        )


def derive(params: Mapping[str, Any], home: Home) -> FunctionRef:
    """The function and qualifier that ``FunctionName`` and ``Qualifier`` name together.

    >>> derive({"FunctionName": "f:prod"}, Home())
    FunctionRef(name='f', qualifier='prod', region='', account='')

    Raises InvalidParameter, ResourceNotFound (another region, or no possible name) and Forbidden (another account).
    """
    text: str = params["FunctionName"]
    given: str = params.get("Qualifier", "")
    try:
        ref = FunctionRef.parse(text)
    except InvalidArn as error:
        raise _unparsable(text, given, home) from error
    if ref.region and ref.region != home.region:
        raise ResourceNotFound(f"Functions from '{ref.region}' are not reachable in this region ('{home.region}')")
    if ref.account and ref.account != home.account:
        raise Forbidden(f"Functions of account {ref.account} are not accessible: this is account {home.account}.")
    if ref.qualifier and given and ref.qualifier != given:
        raise InvalidParameter("The derived qualifier from the function name does not match the specified qualifier.")
    return replace(ref, qualifier=ref.qualifier or given)


def unpublished(params: Mapping[str, Any], home: Home) -> FunctionRef:
    """As ``derive``, for operations on the function itself: versions do not change, and aliases have operations of their
    own. Raises InvalidParameter.
    """
    ref = derive(params, home)
    if ref.qualifier not in ("", limits.LATEST):
        raise InvalidParameter(
            f"This operation is permitted on the unpublished function only, not on its version or alias {ref.qualifier}. "
            "Please specify either a function name or an unqualified function ARN."
        )
    return ref


def _unparsable(text: str, qualifier: str, home: Home) -> ApiError:
    name = text.rsplit("function:", 1)[-1].partition(":")[0]
    if len(name) > MAX_NAME_CHARS:
        return NameTooLong(name)
    return ResourceNotFound(f"Function not found: {home.function(name, qualifier)}")
