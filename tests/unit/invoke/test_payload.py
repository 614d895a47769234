import doctest
import json
import sqlite3

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fnrunner.invoke import payload as module
from fnrunner.invoke.errors import InvalidPayload, PayloadTooLarge
from fnrunner.invoke.payload import AT_ONCE_BYTES, checked, fault_of, fault_of_large

documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
NOT_JSON = [b"{", b"NaN", b"[1,]", b"\xff", b'"\n"', b"{} {}", b"\xef\xbb\xbf{}", b"1\x002", b"[01]", b"'a'", b"\x0c1"]


def test_the_examples_in_the_docstrings_hold() -> None:
    assert doctest.testmod(module).failed == 0


@given(documents, st.booleans())
async def test_json_passes_through_byte_for_byte(document: object, large: bool) -> None:
    payload = json.dumps(document).encode() + b" " * AT_ONCE_BYTES * large
    assert await checked(payload, asynchronous=True) is payload


@given(st.binary(max_size=64))
async def test_bytes_are_taken_or_refused_and_nothing_else(data: bytes) -> None:
    try:
        assert await checked(data, asynchronous=False) == (data or b"{}")
    except InvalidPayload as error:
        assert error.status == 400


@pytest.mark.parametrize("padding", [b"", b" " * AT_ONCE_BYTES], ids=["small", "large"])
@pytest.mark.parametrize("payload", NOT_JSON)
async def test_what_is_not_json_is_refused(payload: bytes, padding: bytes) -> None:
    with pytest.raises(InvalidPayload, match="Could not parse request body into json"):
        await checked(padding + payload, asynchronous=False)


@given(st.text(alphabet='{}[]",:\\u019af-+.eE \n\x00\x7f\ud800tnul', max_size=12))
@example('"\\ud800"')
@example("1e999999")
def test_small_and_large_payloads_are_judged_alike(text: str) -> None:
    payload = text.encode("utf-8", "surrogatepass")
    assert fault_of_large(payload) == fault_of(payload)


def test_a_sqlite_without_json_costs_time_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacks(_: str) -> sqlite3.Connection:
        raise sqlite3.OperationalError("no such function: json_valid")

    monkeypatch.setattr(sqlite3, "connect", lacks)
    assert fault_of_large(b'{"a": 1}') == ""
    assert fault_of_large(b'{"a": 1') != ""


async def test_a_very_deep_document_is_refused_rather_than_crashing() -> None:
    with pytest.raises(InvalidPayload, match="nested too deeply"):
        await checked(b"[" * 200_000 + b"]" * 200_000, asynchronous=True)


async def test_a_number_of_a_million_digits_is_only_looked_at() -> None:
    assert await checked(b"1" * 1_000_000, asynchronous=True)


async def test_the_limits_are_those_of_the_invocation_type() -> None:
    with pytest.raises(PayloadTooLarge, match=r"1048577 byte payload is too large .* 1048576"):
        await checked(b'"' + b"x" * (1024 * 1024 - 1) + b'"', asynchronous=True)
    assert await checked(b'"' + b"x" * (6 * 1024 * 1024 - 2) + b'"', asynchronous=False)
    with pytest.raises(PayloadTooLarge, match="6291456"):
        await checked(b'"' + b"x" * (6 * 1024 * 1024 - 1) + b'"', asynchronous=False)
