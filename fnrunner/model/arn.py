"""Amazon Resource Names of the things fnrunner has, made and read in one place.

>>> home = Home(region="us-east-1", account="000000000000")
>>> home.function("f", "prod")
'arn:aws:lambda:us-east-1:000000000000:function:f:prod'
>>> parse("arn:aws:sqs:us-east-1:000000000000:failures")
Arn(service='sqs', region='us-east-1', account='000000000000', resource='failures')
>>> FunctionRef.parse("arn:aws:lambda:us-east-1:000000000000:function:f:2")
FunctionRef(name='f', qualifier='2', region='us-east-1', account='000000000000')
>>> FunctionRef.parse("f:prod").qualifier
'prod'
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_FUNCTION = re.compile(
    r"(?:arn:aws[a-zA-Z-]*:lambda:)?(?:(?P<region>(?:eusc-)?[a-z]{2}(?:-[a-z]+)+-\d):)?(?:(?P<account>\d{12}):)?(?:function:)?"
    r"(?P<name>[a-zA-Z0-9-_]{1,64})(?::(?P<qualifier>\$LATEST(?:\.PUBLISHED)?|[a-zA-Z0-9-_]{1,128}))?"
)


class InvalidArn(ValueError):
    """Not an ARN. It has the form arn:aws:SERVICE:REGION:ACCOUNT:RESOURCE."""


@dataclass(frozen=True, slots=True)
class Arn:
    service: str
    region: str
    account: str
    resource: str


def parse(text: str) -> Arn:
    """Raises InvalidArn."""
    parts = text.split(":", 5)
    if len(parts) != 6 or parts[0] != "arn" or not parts[2] or not parts[5]:
        raise InvalidArn(f"{text!r} is not an ARN: it has the form arn:aws:SERVICE:REGION:ACCOUNT:RESOURCE")
    return Arn(parts[2], parts[3], parts[4], parts[5])


@dataclass(frozen=True, slots=True)
class FunctionRef:
    """A function as a caller named it: by name, partial ARN or ARN, each with or without a qualifier."""

    name: str
    qualifier: str = ""
    region: str = ""
    account: str = ""

    @classmethod
    def parse(cls, text: str) -> FunctionRef:
        """Raises InvalidArn."""
        if not (match := _FUNCTION.fullmatch(text)) or (text.startswith("arn:") and ":function:" not in text):
            raise InvalidArn(f"{text!r} names no function")
        return cls(match["name"], match["qualifier"] or "", match["region"] or "", match["account"] or "")


@dataclass(frozen=True, slots=True)
class Home:
    """The region and account that this installation answers for."""

    region: str = "us-east-1"
    account: str = "000000000000"

    def function(self, name: str, qualifier: str = "") -> str:
        return f"arn:aws:lambda:{self.region}:{self.account}:function:{name}" + (f":{qualifier}" if qualifier else "")

    def queue(self, name: str) -> str:
        return f"arn:aws:sqs:{self.region}:{self.account}:{name}"

    def bucket(self, name: str) -> str:
        return f"arn:aws:s3:::{name}"

    def layer(self, name: str, version: int = 0) -> str:
        """Of the layer, or of one of its versions."""
        return f"arn:aws:lambda:{self.region}:{self.account}:layer:{name}" + (f":{version}" if version else "")

    def mapping(self, uuid: str) -> str:
        return f"arn:aws:lambda:{self.region}:{self.account}:event-source-mapping:{uuid}"

    def code_signing_config(self, config_id: str) -> str:
        return f"arn:aws:lambda:{self.region}:{self.account}:code-signing-config:{config_id}"

    def signing_profile(self, name: str, version: str) -> str:
        return f"arn:aws:signer:{self.region}:{self.account}:/signing-profiles/{name}/{version}"

    def role(self, name: str = "fnrunner") -> str:
        return f"arn:aws:iam::{self.account}:role/{name}"
