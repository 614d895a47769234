"""An API that wants signatures, its administrator, and requests that are signed by botocore and then changed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import httpx
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

from fnrunner.auth.bootstrap import administrator
from fnrunner.auth.credentials import Credential
from tests.api_server import ApiServer

ACCOUNT = "000000000000"
EVERYTHING = {"Effect": "Allow", "Action": "*", "Resource": "*"}
TRUST_LAMBDA = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "lambda.amazonaws.com"}}


def document(*statements: Mapping[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


@dataclass(frozen=True)
class Site:
    """A running API with its first administrator."""

    server: ApiServer
    admin: Credential

    @property
    def url(self) -> str:
        return self.server.url

    def client(self, service: str, who: Credential | None = None, region: str = "us-east-1") -> Any:
        who = who or self.admin
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=region,
            aws_access_key_id=who.access_key,
            aws_secret_access_key=who.secret,
            aws_session_token=who.token or None,
            config=Config(retries={"total_max_attempts": 1}),
        )

    def user(self, name: str, *statements: Mapping[str, Any]) -> Credential:
        """A user with these statements as a policy in line."""
        iam = self.client("iam")
        iam.create_user(UserName=name)
        if statements:
            iam.put_user_policy(UserName=name, PolicyName="own", PolicyDocument=document(*statements))
        key = iam.create_access_key(UserName=name)["AccessKey"]
        return Credential(name, key["AccessKeyId"], key["SecretAccessKey"])

    def session(self, role: str, who: Credential | None = None, **more: Any) -> Credential:
        """Somebody who assumed the role."""
        arn = f"arn:aws:iam::{ACCOUNT}:role/{role}"
        given = self.client("sts", who).assume_role(RoleArn=arn, RoleSessionName="session", **more)["Credentials"]
        return Credential("session", given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"])


@contextmanager
def site(directory: Path, **settings: Any) -> Iterator[Site]:
    with ApiServer(directory, auth="iam", **settings) as server:
        iam = server.services.iam
        assert iam is not None
        yield Site(server, server.run(administrator(iam, "admin", datetime.now(UTC))))


@dataclass(frozen=True)
class Sent:
    """A request as it goes over the wire; ``query`` is encoded."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    def to(self, url: str) -> httpx.Response:
        query = "&".join(f"{key}={value}" for key, value in self.query)
        target = url + self.path + (f"?{query}" if query else "")
        return httpx.request(self.method, target, headers=dict(self.headers), content=self.body, timeout=30)

    def without(self, *names: str) -> Sent:
        kept = {key: value for key, value in self.headers.items() if key.lower() not in names}
        return replace(self, headers=kept)

    def having(self, name: str, value: str) -> Sent:
        return replace(self.without(name.lower()), headers={**self.without(name.lower()).headers, name: value})


def signed(
    url: str, who: Credential, request: Sent, *, service: str = "lambda", region: str = "us-east-1", presigned: int = 0
) -> Sent:
    """The request with the signature that botocore makes for it."""
    query = "&".join(f"{key}={value}" for key, value in request.query)
    target = url + request.path + (f"?{query}" if query else "")
    headers = {**request.headers, "Host": urlsplit(url).netloc}
    made = AWSRequest(method=request.method, url=target, data=request.body, headers=headers)
    given = Credentials(who.access_key, who.secret, who.token or None)
    if presigned:
        SigV4QueryAuth(given, service, region, expires=presigned).add_auth(made)
    else:
        SigV4Auth(given, service, region).add_auth(made)
    pairs = [pair.partition("=")[::2] for pair in urlsplit(str(made.url)).query.split("&") if pair]
    return replace(request, query=tuple(pairs), headers=dict(made.headers.items()))
