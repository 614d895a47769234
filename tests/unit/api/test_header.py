"""What no AMQP client could be given is refused before it reaches the broker."""

from __future__ import annotations

from typing import Any

import pytest

from fnrunner.api.admin.header import check_headers, check_short
from fnrunner.api.errors import InvalidRequestContent


def test_what_fits_is_taken() -> None:
    check_headers({"n" * 128: "v" * 10_000, "low": -(2**63), "high": 2**63 - 1, "part": 0.5}, "headers")
    assert check_short("ä" * 127, "message_id") == "ä" * 127


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"": "v"}, "takes 1 to 128 bytes"),
        ({"ä" * 65: "v"}, "takes 1 to 128 bytes"),
        ({"big": 2**63}, "headers.big takes a number of at most 64 bits"),
        ({"endless": float("inf")}, "headers.endless takes a number"),
    ],
)
def test_what_would_be_cut_or_fail_is_refused(headers: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidRequestContent, match=said):
        check_headers(headers, "headers")


def test_a_property_has_255_bytes() -> None:
    with pytest.raises(InvalidRequestContent, match="message_id takes at most 255 bytes"):
        check_short("ä" * 128, "message_id")
