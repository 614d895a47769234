"""Every exception becomes one answer: known ones with their code, unknown ones without a word about themselves."""

from __future__ import annotations

import json
import logging

import pytest

from fnrunner.api.errors import NotSupported, ResourceNotFound, ValidationFailed, describe
from fnrunner.catalogue.errors import FunctionExists, UnreservedConcurrencyTooLow
from fnrunner.invoke.errors import Throttled
from fnrunner.model.invocation import ThrottleReason
from fnrunner.store.errors import StoreFull, StoreUnavailable


def test_the_key_of_the_message_is_the_shapes() -> None:
    assert json.loads(describe(ResourceNotFound("gone"), "1").lambda_body()) == {"Type": "User", "Message": "gone"}
    assert json.loads(describe(FunctionExists("f"), "1").lambda_body()) == {
        "Type": "User",
        "message": "Function already exist: f",
    }


def test_some_errors_have_no_type() -> None:
    assert set(json.loads(describe(ValidationFailed(["x"]), "1").lambda_body())) == {"message"}
    assert set(json.loads(describe(UnreservedConcurrencyTooLow(), "1").lambda_body())) == {"message"}


def test_a_throttle_says_why_and_when_to_come_back() -> None:
    failure = describe(Throttled(ThrottleReason.RESERVED), "1")
    assert failure.status == 429
    assert json.loads(failure.lambda_body()) == {
        "Reason": "ReservedFunctionConcurrentInvocationLimitExceeded",
        "Type": "User",
        "message": "Rate Exceeded.",
    }
    assert failure.headers == {"Retry-After": "1"}


def test_what_is_not_supported_is_not_worth_a_retry() -> None:
    failure = describe(NotSupported("fnrunner 1 does not support X yet."), "1")
    assert (failure.status, failure.code) == (400, "InvalidParameterValueException")


@pytest.mark.parametrize("error", [StoreUnavailable(), StoreFull()])
def test_a_store_that_is_away_is_worth_a_retry(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        failure = describe(error, "1")
    assert (failure.status, failure.code, failure.headers) == (503, "ServiceException", {"Retry-After": "1"})


def test_an_unknown_exception_is_logged_and_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise KeyError("s3cret")
    except KeyError as error:
        failure = describe(error, "request-7")
    body = json.loads(failure.lambda_body())
    assert (failure.status, failure.code, body["Type"]) == (500, "ServiceException", "Service")
    assert "s3cret" not in body["Message"]
    assert "request-7" in body["Message"]
    assert "s3cret" in caplog.text
    assert "Traceback" in caplog.text


def test_an_error_without_a_text_says_what_its_class_says() -> None:
    class Nameless(Exception):
        """What it means.

        More.
        """

        code, status = "ServiceException", 409

    assert describe(Nameless(), "1").message == "What it means."
