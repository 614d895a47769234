"""Verifies AWS Signature Version 4, in the Authorization header or in the query of a presigned URL.

::

    claims_of ─► None: not signed │ Claims ─► check: scope, age, headers ─► admit: key, token ─► verify: the signature

The canonical request and the signature are botocore's, so what its signers make is what is compared. A payload is always
signed here: ``UNSIGNED-PAYLOAD`` is refused, since no operation of Lambda, IAM and STS lets it be. A payload in signed
chunks is taken where the caller of :meth:`Verifier.verify` has use for it. Every ``X-Amz-`` header of the request must be
signed, so that nobody on the way can add one. A request that is sent again within its time is taken again, as AWS does:
what must not happen twice needs a precondition or an event id.

Source: AWS Signature Version 4; Lambda's answers.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from urllib.parse import unquote

from botocore.auth import SIGV4_TIMESTAMP, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.compat import HTTPHeaders
from botocore.credentials import Credentials

from fnrunner.auth import chunked
from fnrunner.auth.claims import Claims, Expired, Incomplete, Mismatch, SignatureRefused, UnknownKey, moment
from fnrunner.auth.credentials import Credential
from sources.http.request import Request

ALGORITHM = "AWS4-HMAC-SHA256"
SKEW = timedelta(minutes=5)
PRESIGNED_SKEW = timedelta(minutes=15)
"""How far in the future a presigned URL's date may be."""

STREAMING = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
MAX_EXPIRES = timedelta(days=7)
MAX_SIGNED_HEADERS = 200
"""More than any client has; whoever has not shown a key yet must not cost more than this."""

_SIGNATURE = re.compile(r"[0-9a-f]{64}")
_QUERY_FIELDS = ("X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders", "X-Amz-Signature")


class Verifier:
    """``regions`` and ``services`` are those that requests may be signed for; ``now`` gives aware UTC."""

    def __init__(self, regions: Collection[str], services: Collection[str], now: Callable[[], datetime]) -> None:
        self._regions = regions
        self._services = services
        self._now = now

    def check(self, request: Request, claims: Claims) -> None:
        """All that can be known without the key and the body. Raises SignatureRefused."""
        self._check_scope(claims)
        self._check_age(claims)
        _check_headers(request, claims)

    def admit(self, claims: Claims, credential: Credential | None) -> Credential:
        """The credential, if it is the one of these claims and still good. Raises UnknownKey, Expired."""
        if credential is None:
            raise UnknownKey
        if not hmac.compare_digest(credential.token.encode(), claims.token.encode()):
            what = "its session token is not known here" if claims.token else "its key belongs to a session"
            raise UnknownKey(f"{UnknownKey()} ({what})")
        if credential.expires is not None and credential.expires <= self._now():
            raise Expired
        return credential

    def verify(self, request: Request, claims: Claims, credential: Credential, *, chunks: bool = False) -> bytes:
        """The payload, if the key signed exactly this request. With ``chunks`` it may come in chunks, each signed; the
        payload is what they hold then. Raises SignatureRefused.
        """
        if chunks and request.values("x-amz-content-sha256") == [STREAMING]:
            self._compare(request, claims, credential, STREAMING)
            return chunked.decode(request, claims, credential.secret)
        # of the body that came, whatever a header says of it
        self._compare(request, claims, credential, sha256(request.body).hexdigest())
        return request.body

    def _compare(self, request: Request, claims: Claims, credential: Credential, payload: str) -> None:
        if not hmac.compare_digest(_signature(request, claims, credential, payload), claims.signature):
            raise Mismatch

    def _check_scope(self, claims: Claims) -> None:
        if claims.region not in self._regions:
            raise SignatureRefused(f"Credential should be scoped to a valid region, not '{claims.region}'. ")
        if claims.service not in self._services:
            wanted = "' or '".join(sorted(self._services))
            raise SignatureRefused(f"Credential should be scoped to correct service: '{wanted}'. ")
        if claims.date != claims.timestamp[:8]:
            raise SignatureRefused(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
                f"'{claims.date}' != '{claims.timestamp[:8]}', from '{claims.timestamp}'."
            )

    def _check_age(self, claims: Claims) -> None:
        now = self._now().astimezone(UTC)
        skew = SKEW if claims.expires is None else PRESIGNED_SKEW
        if claims.at > now + skew:
            raise SignatureRefused(
                f"Signature not yet current: {claims.timestamp} is still later than {_text(now + skew)} "
                f"({_text(now)} + {_minutes(skew)} min.)"
            )
        if claims.expires is None and claims.at < now - SKEW:
            raise SignatureRefused(
                f"Signature expired: {claims.timestamp} is now earlier than {_text(now - SKEW)} "
                f"({_text(now)} - {_minutes(SKEW)} min.)"
            )
        if claims.expires is not None and now > claims.at + claims.expires:
            raise SignatureRefused(
                f"Signature expired: {_text(claims.at + claims.expires)} is earlier than {_text(now)}"
            )


def claims_of(request: Request) -> Claims | None:
    """What the request claims; None when it is not signed. Raises Incomplete and SignatureRefused for what is malformed."""
    header = [value for value in request.values("authorization") if value.startswith("AWS4-")]
    signed_query = _query_values(request.raw_query, "X-Amz-Signature") or _query_values(
        request.raw_query, "X-Amz-Algorithm"
    )
    if header and signed_query:
        raise Incomplete("Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter or the Authorization "
                         "header should be specified")  # fmt: skip
    if len(header) > 1 or (header and len(request.values("authorization")) > 1):
        raise Incomplete("There is more than one Authorization header.")
    if header:
        return _from_header(request, header[0])
    return _from_query(request) if signed_query else None


def _from_header(request: Request, text: str) -> Claims:
    algorithm, _, rest = text.partition(" ")
    _check_algorithm(algorithm)
    given = dict(part.strip().partition("=")[::2] for part in rest.split(","))
    missing = [name for name in ("Credential", "Signature", "SignedHeaders") if not given.get(name)]
    dates = request.values("x-amz-date")
    if missing or len(dates) != 1:
        lacks = [f"Authorization header requires '{name}' parameter." for name in missing]
        if not dates:
            lacks.append("Authorization header requires existence of an 'X-Amz-Date' header.")
        raise Incomplete(" ".join(lacks) or "There is more than one X-Amz-Date header.")
    tokens = request.values("x-amz-security-token")
    if len(tokens) > 1:
        raise Incomplete("There is more than one X-Amz-Security-Token header.")
    return _claims(
        given["Credential"], dates[0], given["SignedHeaders"], given["Signature"],
        query=request.raw_query, token=tokens[0] if tokens else "", expires=None,
    )  # fmt: skip


def _from_query(request: Request) -> Claims:
    values = {name: _query_values(request.raw_query, name) for name in ("X-Amz-Algorithm", *_QUERY_FIELDS)}
    if wrong := [name for name, found in values.items() if len(found) != 1]:
        raise Incomplete(" ".join(f"AWS query-string parameters must include '{name}' once." for name in wrong))
    _check_algorithm(values["X-Amz-Algorithm"][0])
    tokens = _query_values(request.raw_query, "X-Amz-Security-Token")
    if len(tokens) > 1 or request.values("x-amz-security-token"):
        raise Incomplete("There is more than one X-Amz-Security-Token.")
    credential, date, expires, headers, signature = (values[name][0] for name in _QUERY_FIELDS)
    if not re.fullmatch(r"[0-9]{1,6}", expires) or not 1 <= int(expires) <= MAX_EXPIRES.total_seconds():
        raise Incomplete("X-Amz-Expires must be a number of seconds from 1 to 604800.")
    kept = [pair for pair in request.raw_query.split("&") if unquote(pair.partition("=")[0]) != "X-Amz-Signature"]
    return _claims(
        credential, date, headers, signature,
        query="&".join(kept), token=tokens[0] if tokens else "", expires=timedelta(seconds=int(expires)),
    )  # fmt: skip


def _claims(
    credential: str, timestamp: str, headers: str, signature: str, *, query: str, token: str, expires: timedelta | None
) -> Claims:
    scope = credential.rsplit("/", 4)
    if len(scope) != 5 or not scope[0] or scope[4] != "aws4_request":
        raise Incomplete(
            "Credential must have exactly 5 slash-delimited elements, such as KEY/20150830/us-east-1/lambda/aws4_request"
        )
    try:
        moment(timestamp)
    except ValueError as error:
        raise Incomplete("Date must be in ISO-8601 'basic format', such as 20150830T123600Z") from error
    if not _SIGNATURE.fullmatch(signature):
        raise Mismatch
    names = tuple(headers.split(";", MAX_SIGNED_HEADERS))
    if len(names) > MAX_SIGNED_HEADERS:
        raise Incomplete(f"There are more than {MAX_SIGNED_HEADERS} SignedHeaders.")
    key, date, region, service, _ = scope
    return Claims(key, date, region, service, timestamp, names, signature, query, token, expires)


def _check_algorithm(algorithm: str) -> None:
    if algorithm != ALGORITHM:
        raise Incomplete(f"Unsupported AWS 'algorithm': '{algorithm[:64]}'. Sign with {ALGORITHM}.")


def _check_headers(request: Request, claims: Claims) -> None:
    signed = frozenset(claims.signed_headers)
    if "host" not in signed:
        raise SignatureRefused("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.")
    for name in sorted({name for name, _ in request.headers if name.startswith("x-amz-")}):
        if name not in signed:
            raise SignatureRefused(f"'{name}' must be a 'SignedHeader' in the AWS Authorization.")


class _Signer(SigV4Auth):  # type: ignore[misc]
    """botocore's, over exactly the headers that the client says it signed."""

    def __init__(self, credential: Credential, claims: Claims, signed: HTTPHeaders) -> None:
        super().__init__(Credentials(credential.access_key, credential.secret), claims.service, claims.region)
        self._signed = signed

    def headers_to_sign(self, _: AWSRequest) -> HTTPHeaders:
        return self._signed


def _signature(request: Request, claims: Claims, credential: Credential, digest: str) -> str:
    given: dict[str, list[str]] = {}
    for name, value in request.headers:
        given.setdefault(name, []).append(value)
    signed = HTTPHeaders()
    for name in claims.signed_headers:
        if name not in given:
            raise Mismatch  # it was taken away on the way
        for value in given[name]:
            signed.add_header(name, value)
    # the URL's host is not looked at: the Host header is among what is signed
    url = f"https://host{request.raw_path}" + (f"?{claims.query}" if claims.query else "")
    copied = AWSRequest(method=request.method, url=url, headers={"X-Amz-Content-SHA256": digest})
    copied.context["timestamp"] = claims.timestamp
    signer = _Signer(credential, claims, signed)
    text: str = signer.signature(signer.string_to_sign(copied, signer.canonical_request(copied)), copied)
    return text


def _query_values(raw_query: str, name: str) -> list[str]:
    pairs = (pair.partition("=") for pair in raw_query.split("&"))
    return [unquote(value) for key, _, value in pairs if unquote(key) == name]


def _text(moment: datetime) -> str:
    return moment.strftime(SIGV4_TIMESTAMP)


def _minutes(span: timedelta) -> int:
    return int(span.total_seconds() // 60)
