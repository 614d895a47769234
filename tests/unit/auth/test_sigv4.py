"""Requests that botocore signed are let in; those that were changed afterwards are not."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import botocore.auth
import pytest
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given, settings
from hypothesis import strategies as st

from fnrunner.auth.claims import Incomplete, Mismatch, SignatureRefused, UnknownKey
from fnrunner.auth.credentials import Credential
from fnrunner.auth.sigv4 import MAX_SIGNED_HEADERS, Verifier, claims_of
from sources.http.request import Request
from tests.examples import EXAMPLES

NOW = datetime(2024, 5, 1, 12, 0, 0, tzinfo=UTC)
ALICE = Credential("alice", "AKIAALICE", "secret/of+alice")
SESSION = Credential("session", "ASIASESSION", "other", token="t" * 300)
KEYS = {credential.access_key: credential for credential in (ALICE, SESSION)}
URL = "http://abc.lambda-url.us-east-1.localhost:9000"


@pytest.fixture(autouse=True)
def _botocore_signs_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: NOW.replace(tzinfo=None))


def verify(request: Request, now: datetime = NOW) -> Credential:
    verifier = Verifier(("us-east-1",), ("lambda",), lambda: now)
    claims = claims_of(request)
    assert claims is not None
    verifier.check(request, claims)
    credential = verifier.admit(claims, KEYS.get(claims.access_key))
    verifier.verify(request, claims, credential)
    return credential


def signed(
    method: str = "POST",
    url: str = URL + "/path/x%20y?b=2&a=1&a=0",
    body: bytes = b'{"a": 1}',
    headers: dict[str, str] | None = None,
    *,
    who: Credential = ALICE,
    region: str = "us-east-1",
    service: str = "lambda",
    presigned: int = 0,
) -> Request:
    """As a client sends it after botocore has signed it."""
    host = urlsplit(url).netloc
    given = {"Host": host, **({"Content-Type": "application/json"} if body else {}), **(headers or {})}
    asked = AWSRequest(method=method, url=url, data=body, headers=given)
    credentials = Credentials(who.access_key, who.secret, who.token or None)
    if presigned:
        SigV4QueryAuth(credentials, service, region, expires=presigned).add_auth(asked)
    else:
        SigV4Auth(credentials, service, region).add_auth(asked)
    parts = urlsplit(asked.url)
    return Request(
        method,
        parts.path,
        parts.query,
        tuple((name.lower(), str(value)) for name, value in asked.headers.items()),
        body,
    )


def with_header(request: Request, name: str, change: Callable[[str], str]) -> Request:
    assert request.values(name)
    headers = tuple((key, change(value) if key == name else value) for key, value in request.headers)
    return replace(request, headers=headers)


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/a/b",
        "/a%20b/%C3%A4",
        "/a//b",
        "/a/../b",
        "/a/./b/",
        "/~tilde*",
        "/x?q=1",
        "/x?flag&b=&c=%20x",
        "/x?b=2&a=1&a=0",
    ],
)
def test_what_botocore_signs_is_let_in(method: str, path: str) -> None:
    body = b"" if method == "GET" else b"body \x00\xff"
    assert verify(signed(method, URL + path, body)) is ALICE


def test_headers_with_blanks_and_repeats_are_let_in() -> None:
    assert verify(signed(headers={"X-Custom": "  two   words  ", "x-amz-meta": "ä"})) is ALICE


def test_a_declared_payload_hash_is_let_in_when_it_is_true() -> None:
    body = b"{}"
    digest = hashlib.sha256(body).hexdigest()
    assert verify(signed(body=body, headers={"x-amz-content-sha256": digest})) is ALICE


def test_a_known_session_is_let_in_with_its_token_only() -> None:
    assert verify(signed(who=SESSION)) is SESSION
    with pytest.raises(UnknownKey, match="its key belongs to a session"):
        verify(signed(who=replace(SESSION, token="")))
    with pytest.raises(UnknownKey, match="its session token is not known here"):
        verify(signed(who=replace(SESSION, token="other")))
    with pytest.raises(UnknownKey, match="its session token is not known here"):
        verify(signed(who=replace(ALICE, token="made up")))


CHANGES: dict[str, Callable[[Request], Request]] = {
    "method": lambda request: replace(request, method="PUT"),
    "path": lambda request: replace(request, raw_path="/path/x%20z"),
    "longer path": lambda request: replace(request, raw_path=request.raw_path + "/"),
    "query value": lambda request: replace(request, raw_query=request.raw_query.replace("b=2", "b=3")),
    "query name": lambda request: replace(request, raw_query=request.raw_query.replace("b=2", "c=2")),
    "query added": lambda request: replace(request, raw_query=request.raw_query + "&admin=1"),
    "query removed": lambda request: replace(request, raw_query=request.raw_query.replace("b=2&", "")),
    "body": lambda request: replace(request, body=b'{"a": 2}'),
    "body removed": lambda request: replace(request, body=b""),
    "host": lambda request: with_header(request, "host", lambda _: "xyz.lambda-url.us-east-1.localhost:9000"),
    "content type": lambda request: with_header(request, "content-type", lambda _: "text/plain"),
    "signed header removed": lambda request: replace(
        request, headers=tuple(pair for pair in request.headers if pair[0] != "content-type")
    ),
    "signed header repeated": lambda request: replace(request, headers=(*request.headers, ("content-type", "x"))),
}
HEADER_CHANGES: dict[str, Callable[[Request], Request]] = {
    "date": lambda request: with_header(request, "x-amz-date", lambda _: "20240501T120001Z"),
    "signature": lambda request: with_header(
        request, "authorization", lambda value: value[:-1] + ("0" if value[-1] != "0" else "1")
    ),
    "signature cut": lambda request: with_header(request, "authorization", lambda value: value[:-1]),
    "signature in upper case": lambda request: with_header(
        request, "authorization", lambda value: value[:-64] + value[-64:].upper()
    ),
    "key": lambda request: with_header(
        request, "authorization", lambda value: value.replace(ALICE.access_key, SESSION.access_key)
    ),
    "unknown key": lambda request: with_header(request, "authorization", lambda value: value.replace("AKIA", "AKIB")),
    "scope date": lambda request: with_header(
        request, "authorization", lambda value: value.replace("/20240501/", "/20240502/")
    ),
    "scope region": lambda request: with_header(
        request, "authorization", lambda value: value.replace("us-east-1", "us-east-2")
    ),
    "scope service": lambda request: with_header(
        request, "authorization", lambda value: value.replace("/lambda/", "/s3/")
    ),
    "scope end": lambda request: with_header(
        request, "authorization", lambda value: value.replace("aws4_request", "aws4")
    ),
    "signed headers fewer": lambda request: with_header(
        request, "authorization", lambda value: value.replace("content-type;", "")
    ),
    "host not signed": lambda request: with_header(request, "authorization", lambda value: value.replace("host;", "")),
    "signed headers more": lambda request: with_header(
        request, "authorization", lambda value: value.replace("host;", "host;x-more;")
    ),
    "signed headers twice": lambda request: with_header(
        request, "authorization", lambda value: value.replace("host;", "host;host;")
    ),
    "unsigned amz header": lambda request: replace(request, headers=(*request.headers, ("x-amz-meta", "1"))),
    "token added": lambda request: replace(request, headers=(*request.headers, ("x-amz-security-token", "1"))),
    "date twice": lambda request: replace(request, headers=(*request.headers, ("x-amz-date", "20240501T120000Z"))),
    "authorization twice": lambda request: replace(
        request, headers=(*request.headers, ("authorization", request.header("authorization")))
    ),
    "algorithm": lambda request: with_header(
        request, "authorization", lambda value: value.replace("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256")
    ),
}


def in_query(old: str, new: str) -> Callable[[Request], Request]:
    return lambda request: replace(request, raw_query=request.raw_query.replace(old, new))


QUERY_CHANGES: dict[str, Callable[[Request], Request]] = {
    name: in_query(old, new)
    for name, old, new in (
        ("expires", "X-Amz-Expires=300", "X-Amz-Expires=301"),
        ("date", "20240501T120000Z", "20240501T120001Z"),
        ("key", ALICE.access_key, SESSION.access_key),
        ("region", "us-east-1%2F", "us-east-2%2F"),
        ("service", "%2Flambda%2F", "%2Fs3%2F"),
        ("signed headers", "X-Amz-SignedHeaders=content-type%3Bhost", "X-Amz-SignedHeaders=host"),
        ("host not signed", "content-type%3Bhost", "content-type"),
        ("algorithm", "AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1"),
        ("signature", "X-Amz-Signature=", "X-Amz-Signature=0"),
        ("signature twice", "X-Amz-Signature=", f"X-Amz-Signature={'0' * 64}&X-Amz-Signature="),
        ("expires of no number", "X-Amz-Expires=300", "X-Amz-Expires=9e9"),
        ("expires too late", "X-Amz-Expires=300", "X-Amz-Expires=604801"),
        ("expires at once", "X-Amz-Expires=300", "X-Amz-Expires=0"),
    )
}


@pytest.mark.parametrize("change", [*CHANGES, *HEADER_CHANGES])
def test_a_signed_request_that_was_changed_in_one_place_is_refused(change: str) -> None:
    changed = {**CHANGES, **HEADER_CHANGES}[change](signed())
    assert changed != signed()
    with pytest.raises(SignatureRefused):
        verify(changed)


@pytest.mark.parametrize("change", [*CHANGES, *QUERY_CHANGES])
def test_a_presigned_request_that_was_changed_in_one_place_is_refused(change: str) -> None:
    request = signed(presigned=300, url=URL + "/path/x%20y?b=2&a=1", body=b"", headers={"Content-Type": "x"})
    changed = {**CHANGES, **QUERY_CHANGES}[change](request)
    if change == "body removed":
        assert verify(changed) is ALICE
        return
    assert changed != request
    with pytest.raises(SignatureRefused):
        verify(changed)


@pytest.mark.parametrize("change", ["abc", "aws4-hmac-sha256 Credential=x", "Bearer token", "Basic eA=="])
def test_other_authorization_is_not_a_signature(change: str) -> None:
    assert claims_of(Request("GET", headers=(("authorization", change),))) is None
    assert claims_of(Request("GET", raw_query="a=1")) is None


def test_a_presigned_url_is_let_in() -> None:
    assert verify(signed("GET", URL + "/x?a=1", b"", presigned=60)) is ALICE
    assert verify(signed("GET", URL, b"", presigned=60, who=SESSION)) is SESSION


def test_two_signatures_are_one_too_many() -> None:
    request = signed("GET", URL + "/", b"", presigned=60)
    doubled = replace(request, headers=(*request.headers, ("authorization", signed().header("authorization"))))
    with pytest.raises(Incomplete, match="Only one auth mechanism"):
        claims_of(doubled)


@pytest.mark.parametrize("payload", ["UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "0" * 64])
def test_a_payload_that_is_not_signed_is_refused(payload: str) -> None:
    with pytest.raises(Mismatch):
        verify(signed(headers={"x-amz-content-sha256": payload}))


@pytest.mark.parametrize(
    ("later", "accepted"),
    [(timedelta(minutes=5), True), (timedelta(minutes=5, seconds=1), False), (timedelta(minutes=-5), True),
     (timedelta(minutes=-5, seconds=-1), False)],
)  # fmt: skip
def test_a_signature_holds_for_five_minutes(later: timedelta, accepted: bool) -> None:
    if accepted:
        assert verify(signed(), NOW + later) is ALICE
        return
    with pytest.raises(SignatureRefused, match=r"Signature expired|Signature not yet current"):
        verify(signed(), NOW + later)


@pytest.mark.parametrize(
    ("later", "accepted"),
    [(timedelta(seconds=300), True), (timedelta(seconds=301), False), (timedelta(minutes=-15), True),
     (timedelta(minutes=-15, seconds=-1), False)],
)  # fmt: skip
def test_a_presigned_url_holds_until_it_expires(later: timedelta, accepted: bool) -> None:
    request = signed("GET", URL + "/", b"", presigned=300)
    if accepted:
        assert verify(request, NOW + later) is ALICE
        return
    with pytest.raises(SignatureRefused, match=r"Signature expired|Signature not yet current"):
        verify(request, NOW + later)


def test_refusals_have_lambdas_words() -> None:
    with pytest.raises(SignatureRefused) as late:
        verify(signed(), NOW + timedelta(minutes=10))
    assert str(late.value) == (
        "Signature expired: 20240501T120000Z is now earlier than 20240501T120500Z (20240501T121000Z - 5 min.)"
    )
    with pytest.raises(Mismatch) as wrong:
        verify(signed(who=replace(ALICE, secret="guessed")))
    assert str(wrong.value).startswith("The request signature we calculated does not match the signature you provided.")
    assert (wrong.value.code, wrong.value.status) == ("InvalidSignatureException", 403)
    with pytest.raises(UnknownKey) as unknown:
        verify(signed(who=Credential("eve", "AKIAEVE", "s")))
    assert str(unknown.value) == "The security token included in the request is invalid."
    assert unknown.value.code == "UnrecognizedClientException"


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("AWS4-HMAC-SHA256 Credential=a/b/c/d/aws4_request", "'Signature' parameter. .* requires 'SignedHeaders'"),
        ("AWS4-HMAC-SHA256", "'Credential' parameter"),
        ("AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=" + "0" * 64, "5 slash-delimited"),
        ("AWS4-HMAC-SHA1 Credential=a", "Unsupported AWS 'algorithm'"),
    ],
)  # fmt: skip
def test_what_is_incomplete_is_told_what_it_lacks(value: str, says: str) -> None:
    with pytest.raises(Incomplete, match=says):
        claims_of(Request("GET", headers=(("authorization", value), ("x-amz-date", "20240501T120000Z"))))


def test_a_date_must_be_there_and_be_one() -> None:
    value = (
        "AWS4-HMAC-SHA256 Credential=a/20240501/us-east-1/lambda/aws4_request, SignedHeaders=host, Signature="
        + "0" * 64
    )
    with pytest.raises(Incomplete, match="'X-Amz-Date' header"):
        claims_of(Request("GET", headers=(("authorization", value),)))
    for date in ("2024-05-01T12:00:00Z", "20240501T126000Z", "20241301T120000Z", "", "２０２４0501T120000Z"):
        with pytest.raises(Incomplete, match="ISO-8601"):
            claims_of(Request("GET", headers=(("authorization", value), ("x-amz-date", date))))


@settings(max_examples=3 * EXAMPLES)
@given(st.text("AWS4-HMACSHA256 Credential=/,;Signature=host0", max_size=120), st.text(max_size=30))
def test_no_authorization_is_worse_than_refused(value: str, query: str) -> None:
    for request in (
        Request("GET", headers=(("authorization", "AWS4-" + value), ("x-amz-date", "20240501T120000Z"))),
        Request("GET", raw_query=f"X-Amz-Signature={query}&{value}"),
    ):
        try:
            verify(request)
        except SignatureRefused:
            continue
        raise AssertionError(request)


def test_signed_headers_are_few_enough_to_be_looked_at() -> None:
    names = {f"x-amz-{number}": "1" for number in range(MAX_SIGNED_HEADERS - 3)}
    assert verify(signed(headers=names)) is ALICE
    with pytest.raises(Incomplete, match="more than 200"):
        claims_of(signed(headers={**names, "x-amz-one": "1", "x-amz-more": "1"}))
