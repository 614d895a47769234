"""aws-sam-translator behind one door: a template as CloudFormation's resources, or why it is none.

As a program it reads ``{"template", "region"}`` and writes ``{"causes": [{"logical", "message"}]}``, so that whoever asks need
not wait for its import.
"""

from __future__ import annotations

import contextlib
import gc
import io
import json
import logging
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PACKAGE = "samtranslator"
_CAUSE = re.compile(r"Resource with id \[(?P<logical>\w+)\] is invalid\. (?P<message>.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Cause:
    """One reason for which the translator refuses a template. ``logical`` is the resource that it names; empty: none."""

    logical: str
    message: str


class Refused(Exception):
    """The translator refuses the template, for these causes."""

    def __init__(self, causes: list[Cause]) -> None:
        super().__init__("; ".join(cause.message for cause in causes))
        self.causes = causes


def translate(template: Mapping[str, Any], region: str) -> Mapping[str, Any]:
    """CloudFormation's resources by logical id. The template may be changed. Raises Refused."""
    # only who needs it waits for its import
    import boto3
    from samtranslator.model.exceptions import InvalidDocumentException
    from samtranslator.parser.parser import Parser
    from samtranslator.translator.translator import Translator

    from fnrunner.auth import managed

    known = {arn.rpartition("/")[2]: arn for arn in managed.arns()}
    session = boto3.Session(region_name=region, aws_access_key_id="none", aws_secret_access_key="none")  # noqa: S106
    logging.getLogger(PACKAGE).setLevel(logging.CRITICAL)
    try:
        # it speaks of its own metrics on standard error
        with contextlib.redirect_stderr(io.StringIO()):
            translated = Translator(known, Parser(), None, session).translate(template, {})
    except InvalidDocumentException as error:
        raise Refused([_cause(str(cause.message)) for cause in error.causes]) from error
    found: Mapping[str, Any] = translated["Resources"]
    return found


def _cause(message: str) -> Cause:
    """
    >>> _cause("Resource with id [F] is invalid. Missing required property 'Handler'.")
    Cause(logical='F', message="Missing required property 'Handler'.")
    """
    match = _CAUSE.fullmatch(message)
    return Cause(match["logical"], match["message"]) if match else Cause("", message)


def judged(template: Mapping[str, Any], region: str) -> list[Cause]:
    """Why the translator refuses the template; empty where it does not."""
    try:
        translate(template, region)
    except Refused as refused:
        return refused.causes
    return []


def main() -> None:
    gc.disable()  # a short life: a sixth of it otherwise
    # Imported before the question is read: it is asked while this goes on.
    import samtranslator.translator.translator  # noqa: F401

    question = json.load(sys.stdin)
    causes = judged(question["template"], question["region"])
    json.dump({"causes": [{"logical": one.logical, "message": one.message} for one in causes]}, sys.stdout)


if __name__ == "__main__":
    main()
