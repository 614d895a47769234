"""With FNRUNNER_AUTH=iam what botocore signs gets in, and nothing that was changed in a single place afterwards."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import botocore.auth
import httpx
import pytest

from fnrunner.auth.credentials import Credential
from tests.iam_kit import EVERYTHING, Sent, Site, document, signed, site

LAMBDA = Sent("GET", "/2015-03-31/functions/", (("MaxItems", "5"), ("FunctionVersion", "ALL")), {"X-Amz-Extra": "1"})
POST = Sent(
    "POST",
    "/2015-03-31/functions/none/aliases",
    (),
    {"Content-Type": "application/json"},
    b'{"Name": "a", "FunctionVersion": "1"}',
)
ADMIN = Sent("GET", "/fnrunner/v1/concurrency", (("function", ""),))
STS = Sent(
    "POST",
    "/",
    (),
    {"Content-Type": "application/x-www-form-urlencoded"},
    b"Action=GetCallerIdentity&Version=2011-06-15",
)
MISMATCH, SCOPE = "InvalidSignatureException", "InvalidSignatureException"
QUERY_CODES = {
    "InvalidSignatureException": "SignatureDoesNotMatch",
    "IncompleteSignatureException": "IncompleteSignature",
    "UnrecognizedClientException": "InvalidClientTokenId",
    "MissingAuthenticationTokenException": "MissingAuthenticationToken",
}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("signed")) as running:
        yield running


@pytest.fixture(scope="module")
def session(here: Site) -> Credential:
    trust = {
        "Effect": "Allow",
        "Action": "sts:AssumeRole",
        "Principal": {"AWS": "arn:aws:iam::000000000000:user/admin"},
    }
    iam = here.client("iam")
    iam.create_role(RoleName="everything", AssumeRolePolicyDocument=document(trust))
    iam.put_role_policy(RoleName="everything", PolicyName="p", PolicyDocument=document(EVERYTHING))
    return here.session("everything")


def code_of(answer: httpx.Response) -> str:
    if "xml" in answer.headers["content-type"]:
        found = re.search(r"<Code>([^<]*)</Code>", answer.text)
        return found[1] if found else ""
    return answer.headers.get("x-amzn-errortype", "")


def in_credential(sent: Sent, position: int, value: str) -> Sent:
    """With another part of the credential scope: 0 key, 1 date, 2 region, 3 service."""
    parts = re.search(r"Credential=([^,]*)", sent.headers["Authorization"])
    assert parts is not None
    scope = parts[1].split("/")
    scope[position] = value
    changed = sent.headers["Authorization"].replace(parts[1], "/".join(scope))
    return sent.having("Authorization", changed)


def in_signature(sent: Sent) -> Sent:
    text = sent.headers["Authorization"]
    last = "0" if text[-1] != "0" else "1"
    return sent.having("Authorization", text[:-1] + last)


def another_second(date: str) -> str:
    return date[:-2] + ("1" if date[-2] == "0" else "0") + "Z"


Change = Callable[[Sent], Sent]

CHANGES: dict[str, tuple[Change, str]] = {
    "method": (lambda s: replace(s, method="DELETE"), MISMATCH),
    "path": (lambda s: replace(s, path=s.path + "x"), MISMATCH),
    "path encoded otherwise": (lambda s: replace(s, path=s.path.replace("f", "%66", 1)), MISMATCH),
    "a query parameter": (lambda s: replace(s, query=(("MaxItems", "6"), *s.query[1:])), MISMATCH),
    "the other query parameter": (lambda s: replace(s, query=(s.query[0], ("FunctionVersion", "all"))), MISMATCH),
    "a query parameter less": (lambda s: replace(s, query=s.query[1:]), MISMATCH),
    "a query parameter more": (lambda s: replace(s, query=(*s.query, ("Marker", "a"))), MISMATCH),
    "a signed header": (lambda s: s.having("X-Amz-Extra", "2"), MISMATCH),
    "a signed header less": (lambda s: s.without("x-amz-extra"), MISMATCH),
    "an X-Amz header more": (lambda s: s.having("X-Amz-Other", "1"), MISMATCH),
    "the host": (lambda s: s.having("Host", "localhost:1"), MISMATCH),
    "the body": (lambda s: replace(s, body=s.body + b" "), MISMATCH),
    "the date": (lambda s: s.having("X-Amz-Date", another_second(s.headers["X-Amz-Date"])), MISMATCH),
    "the date's form": (lambda s: s.having("X-Amz-Date", "yesterday"), "IncompleteSignatureException"),
    "no date": (lambda s: s.without("x-amz-date"), "IncompleteSignatureException"),
    "the day of the scope": (lambda s: in_credential(s, 1, "20200101"), SCOPE),
    "the region": (lambda s: in_credential(s, 2, "eu-west-1"), SCOPE),
    "the service": (lambda s: in_credential(s, 3, "s3"), SCOPE),
    "the end of the scope": (lambda s: in_credential(s, 4, "aws5_request"), "IncompleteSignatureException"),
    "the key id": (lambda s: in_credential(s, 0, "AKIAIOSFODNN7EXAMPLE"), "UnrecognizedClientException"),
    "the key id of a session": (lambda s: in_credential(s, 0, "ASIAIOSFODNN7EXAMPLE"), "UnrecognizedClientException"),
    "the signature": (in_signature, MISMATCH),
    "the list of headers": (
        lambda s: s.having("Authorization", s.headers["Authorization"].replace("host;", "")), MISMATCH,
    ),
    "the algorithm": (
        lambda s: s.having("Authorization", s.headers["Authorization"].replace("SHA256", "SHA1", 1)),
        "IncompleteSignatureException",
    ),
    "no signature": (lambda s: s.without("authorization"), "MissingAuthenticationTokenException"),
}  # fmt: skip
NEEDS_QUERY = {name for name in CHANGES if "query parameter" in name}


@pytest.mark.parametrize("request_", [LAMBDA, POST, ADMIN], ids=["lambda", "lambda-post", "admin"])
def test_what_botocore_signs_is_let_in(here: Site, session: Credential, request_: Sent) -> None:
    for who in (here.admin, session):
        answer = signed(here.url, who, request_).to(here.url)
        assert (answer.status_code in (200, 404)) is True, answer.text
        assert code_of(answer) in ("", "ResourceNotFoundException")


def test_sts_takes_what_is_signed_for_it(here: Site, session: Credential) -> None:
    for who, arn in ((here.admin, "user/admin"), (session, "assumed-role/everything/session")):
        answer = signed(here.url, who, STS, service="sts").to(here.url)
        assert answer.status_code == 200
        assert arn in answer.text


@pytest.mark.parametrize("change", CHANGES)
def test_a_signed_request_that_was_changed_in_one_place_is_refused(here: Site, change: str) -> None:
    apply, code = CHANGES[change]
    answer = apply(signed(here.url, here.admin, LAMBDA)).to(here.url)
    assert (answer.status_code, code_of(answer)) == (403, code), answer.text


@pytest.mark.parametrize(
    "change", [name for name in CHANGES if name not in NEEDS_QUERY | {"path", "path encoded otherwise"}]
)
def test_so_it_is_for_sts_in_its_own_words(here: Site, change: str) -> None:
    apply, code = CHANGES[change]
    sent = signed(here.url, here.admin, STS.having("X-Amz-Extra", "1"), service="sts")
    answer = apply(sent).to(here.url)
    status = 400 if code == "IncompleteSignatureException" else 403
    assert (answer.status_code, code_of(answer)) == (status, QUERY_CODES[code]), answer.text


@pytest.mark.parametrize("change", ["another", "none"])
def test_a_session_needs_its_token(here: Site, session: Credential, change: str) -> None:
    sent = signed(here.url, session, LAMBDA)
    changed = sent.without("x-amz-security-token") if change == "none" else sent.having("X-Amz-Security-Token", "other")
    answer = changed.to(here.url)
    assert (answer.status_code, code_of(answer)) == (403, "UnrecognizedClientException")


def test_a_token_that_is_signed_and_wrong_is_refused(here: Site, session: Credential) -> None:
    answer = signed(here.url, replace(session, token=session.token[:-1] + "!"), LAMBDA).to(here.url)
    assert code_of(answer) == "UnrecognizedClientException"


PRESIGNED: dict[str, tuple[Change, str]] = {
    "method": (lambda s: replace(s, method="DELETE"), MISMATCH),
    "path": (lambda s: replace(s, path=s.path + "x"), MISMATCH),
    "body": (lambda s: replace(s, body=b"x"), MISMATCH),
    "expires": (lambda s: in_query(s, "X-Amz-Expires", "61"), MISMATCH),
    "expires too long": (lambda s: in_query(s, "X-Amz-Expires", "604801"), "IncompleteSignatureException"),
    "date": (lambda s: in_query(s, "X-Amz-Date", "20200101T000000Z"), SCOPE),
    "signature": (lambda s: in_query(s, "X-Amz-Signature", "0" * 64), MISMATCH),
    "signed headers": (lambda s: in_query(s, "X-Amz-SignedHeaders", "host%3Bx-amz-date"), MISMATCH),
    "algorithm": (lambda s: in_query(s, "X-Amz-Algorithm", "AWS4"), "IncompleteSignatureException"),
    "no credential": (
        lambda s: replace(s, query=tuple(pair for pair in s.query if pair[0] != "X-Amz-Credential")),
        "IncompleteSignatureException",
    ),
    "parameter": (lambda s: in_query(s, "MaxItems", "6"), MISMATCH),
}


def in_query(sent: Sent, name: str, value: str) -> Sent:
    return replace(sent, query=tuple((key, value if key == name else old) for key, old in sent.query))


def test_a_presigned_url_is_let_in(here: Site, session: Credential) -> None:
    for who in (here.admin, session):
        sent = signed(here.url, who, LAMBDA.without("x-amz-extra"), presigned=60)
        assert sent.without("host").to(here.url).status_code == 200


@pytest.mark.parametrize("change", PRESIGNED)
def test_a_presigned_url_that_was_changed_is_refused(here: Site, change: str) -> None:
    apply, code = PRESIGNED[change]
    sent = signed(here.url, here.admin, LAMBDA.without("x-amz-extra"), presigned=60)
    answer = apply(sent).to(here.url)
    assert (answer.status_code, code_of(answer)) == (403, code), answer.text


@pytest.mark.parametrize("minutes", [-6, 6])
def test_a_clock_that_is_wrong_is_told_both_times(here: Site, monkeypatch: pytest.MonkeyPatch, minutes: int) -> None:
    then = datetime.now(UTC) + timedelta(minutes=minutes)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: then.replace(tzinfo=None))
    answer = signed(here.url, here.admin, LAMBDA).to(here.url)
    assert (answer.status_code, code_of(answer)) == (403, "InvalidSignatureException")
    words = (
        "Signature expired: {} is now earlier than" if minutes < 0 else "Signature not yet current: {} is still later"
    )
    assert words.format(f"{then:%Y%m%dT%H%M%SZ}") in answer.json()["message"]
    assert len(re.findall(r"\d{8}T\d{6}Z", answer.json()["message"])) == 3


@pytest.mark.parametrize("minutes", [-4, 4])
def test_a_clock_that_is_little_wrong_is_right(here: Site, monkeypatch: pytest.MonkeyPatch, minutes: int) -> None:
    then = (datetime.now(UTC) + timedelta(minutes=minutes)).replace(tzinfo=None)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: then)
    assert signed(here.url, here.admin, LAMBDA).to(here.url).status_code == 200


def test_a_request_may_be_sent_again_within_its_time(here: Site) -> None:
    sent = signed(here.url, here.admin, LAMBDA)
    assert [sent.to(here.url).status_code for _ in range(2)] == [200, 200]


@pytest.mark.parametrize("payload", ["UNSIGNED-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"])
def test_a_payload_that_is_not_signed_is_refused(here: Site, payload: str) -> None:
    sent = signed(here.url, here.admin, POST.having("X-Amz-Content-SHA256", payload))
    answer = sent.to(here.url)
    assert (answer.status_code, code_of(answer)) == (403, MISMATCH)


def in_chunks(here: Site, pieces: list[bytes]) -> Sent:
    """POST with its payload in signed chunks, made after AWS's description and not after the code that reads it."""
    whole = b"".join(pieces)
    head = POST.having("X-Amz-Content-SHA256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD")
    head = replace(head, body=b"").having("Content-Encoding", "aws-chunked")
    sent = signed(here.url, here.admin, head.having("X-Amz-Decoded-Content-Length", str(len(whole))))
    date = sent.headers["X-Amz-Date"]
    key = ("AWS4" + here.admin.secret).encode()
    for part in (date[:8], "us-east-1", "lambda", "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    previous = sent.headers["Authorization"].rpartition("Signature=")[2]
    body = b""
    for piece in [*pieces, b""]:
        empty, digest = hashlib.sha256(b"").hexdigest(), hashlib.sha256(piece).hexdigest()
        text = (
            f"AWS4-HMAC-SHA256-PAYLOAD\n{date}\n{date[:8]}/us-east-1/lambda/aws4_request\n{previous}\n{empty}\n{digest}"
        )
        previous = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
        body += f"{len(piece):x};chunk-signature={previous}\r\n".encode() + piece + b"\r\n"
    return replace(sent, body=body)


PIECES = [b'{"Name": ', b'"a", "FunctionVersion": "1"}']


def test_a_payload_in_signed_chunks_is_let_in_and_read(here: Site) -> None:
    answer = in_chunks(here, PIECES).to(here.url)
    assert (answer.status_code, code_of(answer)) == (404, "ResourceNotFoundException"), answer.text


CHUNKED: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "a byte": (lambda body: body.replace(b'"a"', b'"b"'), MISMATCH),
    "a signature": (
        lambda body: body.replace(b"chunk-signature=", b"chunk-signature=0")[:-1],
        "IncompleteSignatureException",
    ),
    "a chunk less": (lambda body: body[body.index(b"\r\n", body.index(b"\r\n") + 2) + 2 :], MISMATCH),
    "the end": (lambda body: body[: body.rindex(b"0;chunk")], "IncompleteSignatureException"),
    "something behind": (lambda body: body + b"x", "IncompleteSignatureException"),
    "no chunks": (lambda _: b'{"Name": "a"}', "IncompleteSignatureException"),
}


@pytest.mark.parametrize("change", CHUNKED)
def test_chunks_that_were_changed_are_refused(here: Site, change: str) -> None:
    apply, code = CHUNKED[change]
    sent = in_chunks(here, PIECES)
    answer = replace(sent, body=apply(sent.body)).to(here.url)
    assert (answer.status_code, code_of(answer)) == (403, code), answer.text


def test_an_expired_session_is_told_so(here: Site, session: Credential) -> None:
    iam = here.server.services.iam
    assert iam is not None
    role = iam.role("arn:aws:iam::000000000000:role/everything")
    assert role is not None
    given = here.server.run(iam.issue(role, "short", timedelta(seconds=-1)))
    short = Credential("short", given.access_key, given.secret, given.token)
    answer = signed(here.url, short, LAMBDA).to(here.url)
    assert (answer.status_code, code_of(answer)) == (403, "ExpiredTokenException")
    answer = signed(here.url, short, STS, service="sts").to(here.url)
    assert (answer.status_code, code_of(answer)) == (403, "ExpiredToken")


def test_health_needs_no_signature_and_everything_else_does(here: Site) -> None:
    for path in ("/healthz", "/readyz", "/metrics"):
        assert httpx.get(here.url + path).status_code == 200
    paths = ("/fnrunner/v1/status", "/nothing", "/2015-03-31/nothing", "/%66nrunner/v1/status", "//fnrunner/v1/status",
             "/fnrunner/v1/code/x/y", "/2015-03-31/functions/", "/%32015-03-31/functions/")  # fmt: skip
    for path in paths:
        answer = httpx.get(here.url + path)
        assert (answer.status_code, code_of(answer)) == (403, "MissingAuthenticationTokenException"), path


@pytest.mark.parametrize(
    ("path", "name"),
    [("/2015-03-31/functions/f/invocations", "InvokeFunction"), ("/2015-03-31/functions/f/aliases", "CreateAlias")],
)
def test_what_no_operation_takes_is_not_read_to_look_at_its_signature(here: Site, path: str, name: str) -> None:
    sent = signed(here.url, here.admin, Sent("POST", path, body=b" " * (6 * 1024 * 1024 + 70_000)))
    answer = sent.having("Authorization", sent.headers["Authorization"][:-4] + "0000").to(here.url)
    assert answer.status_code == 413
    assert answer.text.endswith(f'Request must be smaller than 6291456 bytes for the {name} operation"}}')
