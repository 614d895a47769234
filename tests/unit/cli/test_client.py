"""Answers of the server become values, or errors with a code, a status and a remedy."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fnrunner.cli.client import Client, Reply, function_path, refusal
from fnrunner.cli.deploy.parameter import overrides
from fnrunner.cli.error import ServerRefused, UsageFault
from fnrunner.cli.option import document, pairs
from fnrunner.cli.output import Output, clean, span


def reply(status: int, body: Any, **headers: str) -> Reply:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Reply(status, {name.replace("_", "-"): value for name, value in headers.items()}, data)


@pytest.mark.parametrize("key", ["message", "Message"])
def test_lambdas_errors_are_read_in_either_casing(key: str) -> None:
    error = refusal(
        reply(409, {key: "it exists", "Type": "User"}, x_amzn_errortype="ResourceConflictException:http://x")
    )
    assert str(error) == "ResourceConflictException: it exists"
    assert (error.code, error.http_status, error.status) == ("ResourceConflictException", 409, 4)


def test_the_servers_own_remedy_is_shown() -> None:
    error = refusal(reply(409, {"error": {"code": "QueueFullException", "message": "full", "remedy": "empty it"}}))
    assert (str(error), error.remedy) == ("QueueFullException: full", "empty it")


def test_a_throttle_says_when_to_try_again() -> None:
    body = {"Reason": "ReservedFunctionConcurrentInvocationLimitExceeded", "message": "Rate Exceeded."}
    error = refusal(reply(429, body, x_amzn_errortype="TooManyRequestsException", retry_after="7"))
    assert "try again in 7 s" in error.remedy


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b'"x"', b'{"error": "x"}'])
def test_an_error_of_any_body_has_a_message(body: bytes) -> None:
    assert str(refusal(reply(502, body))).startswith("HTTP 502: ")


def test_an_error_cannot_steer_the_terminal() -> None:
    assert "\x1b" not in str(refusal(reply(400, {"message": "\x1b[2J"})))


def test_an_answer_that_is_no_json_names_the_endpoint_as_the_suspect() -> None:
    with pytest.raises(ServerRefused) as caught:
        reply(200, b"<html>").json()
    assert "--endpoint-url" in caught.value.remedy


@pytest.mark.parametrize("url", ["", "localhost:9000", "ftp://x", "http://"])
def test_an_endpoint_that_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(UsageFault, match="--endpoint-url"):
        Client(url)


def test_arns_stay_one_segment_of_the_path() -> None:
    assert function_path("arn:aws:lambda:us-east-1:000000000000:function:f") == (
        "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aus-east-1%3A000000000000%3Afunction%3Af"
    )


class Pages(Client):
    """Answers every path with the next page."""

    def __init__(self, *pages: dict[str, Any]) -> None:
        super().__init__("http://test")
        self.left = list(pages)
        self.asked: list[dict[str, Any]] = []

    def get(self, path: str, **query: Any) -> Any:
        self.asked.append(query)
        return self.left.pop(0)


def test_pages_are_read_to_the_last() -> None:
    client = Pages({"Functions": [1, 2], "NextMarker": "m"}, {"Functions": [3]})
    assert list(client.pages("/x", "Functions")) == [1, 2, 3]
    assert client.asked == [{"Marker": None}, {"Marker": "m"}]


@pytest.mark.parametrize("text", ["{", "", "{'a': 1}", "nope"])
def test_an_event_that_is_no_json_is_refused_before_it_is_sent(text: str) -> None:
    with pytest.raises(UsageFault, match="--event: this is not JSON"):
        document(text, "--event")


@pytest.mark.parametrize("text", ["K", "=v", ""])
def test_pairs_need_a_name_and_an_equals_sign(text: str) -> None:
    with pytest.raises(UsageFault, match="--env"):
        pairs([text], "--env")
    with pytest.raises(UsageFault, match="--parameter-overrides"):
        overrides([text])


@pytest.mark.parametrize("code", [0, 7, 8, 27, 127, 0x9B])
def test_control_characters_are_shown_and_not_sent(code: int) -> None:
    assert clean(chr(code)) == f"\\x{code:02x}"


def test_tabs_and_other_languages_stay() -> None:
    assert clean("\tGrüße 写真") == "\tGrüße 写真"


@pytest.mark.parametrize(("ms", "text"), [(0.0, "0 ms"), (300.0, "300 ms"), (12.345, "12.35 ms"), (1500, "1.5 s")])
def test_durations_are_short(ms: float, text: str) -> None:
    assert span(ms) == text


def test_json_output_prints_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(as_json=True)
    output.line("for people")
    output.table(("A",), [("b",)], empty="none")
    output.json({"a": 1})
    assert capsys.readouterr().out == '{"a": 1}\n'


def test_a_pipe_gets_no_colours_and_no_cut_columns(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output()
    output.line(output.paint("red", "red"))
    output.table(("NAME", "X"), [("n" * 300, "y")], empty="none")
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert out.splitlines()[2] == "n" * 300 + "  y"
