import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fnrunner.invoke.errors import InvalidPayload, PayloadTooLarge
from fnrunner.invoke.payload import checked

documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(documents)
def test_json_passes_through_byte_for_byte(document: object) -> None:
    payload = json.dumps(document).encode()
    assert checked(payload, asynchronous=True) is payload


@given(st.binary(max_size=64))
def test_bytes_are_taken_or_refused_and_nothing_else(data: bytes) -> None:
    try:
        assert checked(data, asynchronous=False) == (data or b"{}")
    except InvalidPayload as error:
        assert error.status == 400


@pytest.mark.parametrize("payload", [b"{", b"NaN", b"[1,]", b"\xff", b'"\n"', b"{} {}", b"\xef\xbb\xbf{}"])
def test_what_is_not_json_is_refused(payload: bytes) -> None:
    with pytest.raises(InvalidPayload, match="Could not parse request body into json"):
        checked(payload, asynchronous=False)


def test_a_very_deep_document_is_refused_rather_than_crashing() -> None:
    with pytest.raises(InvalidPayload, match="nested too deeply"):
        checked(b"[" * 200_000 + b"]" * 200_000, asynchronous=True)


def test_a_number_of_a_million_digits_is_only_looked_at() -> None:
    assert checked(b"1" * 1_000_000, asynchronous=True)


def test_the_limits_are_those_of_the_invocation_type() -> None:
    with pytest.raises(PayloadTooLarge, match=r"1048577 byte payload is too large .* 1048576"):
        checked(b'"' + b"x" * (1024 * 1024 - 1) + b'"', asynchronous=True)
    assert checked(b'"' + b"x" * (6 * 1024 * 1024 - 2) + b'"', asynchronous=False)
    with pytest.raises(PayloadTooLarge, match="6291456"):
        checked(b'"' + b"x" * (6 * 1024 * 1024 - 1) + b'"', asynchronous=False)
