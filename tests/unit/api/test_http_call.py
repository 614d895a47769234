"""Answers of functions to HTTP requests: how they are read, and what a client is told when they are none."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from starlette.types import Message

from fnrunner.api.http_answer import URL
from fnrunner.api.http_call import LARGE_BYTES, HttpCall, buffered, trace_id
from fnrunner.api.services import Front
from fnrunner.model.arn import FunctionRef
from sources.http import response as mapping
from sources.http.event import Endpoint
from sources.http.request import Request


@dataclass
class Result:
    payload: bytes
    request_id: str = "run-1"
    function_error: str = ""
    xray: str = ""


class Answering:
    def __init__(self, payload: bytes) -> None:
        self._payload = payload

    async def call(self, *_: Any, **more: Any) -> Result:
        return Result(self._payload)


async def answer(payload: bytes) -> list[Message]:
    got: list[Message] = []

    async def send(message: Message) -> None:
        got.append(message)

    call = HttpCall(
        Request("GET"), Endpoint("id", "id.example"), FunctionRef("f"), "url:f", "asked-1",
        datetime(2026, 1, 1, tzinfo=UTC), URL, lambda head: head,
    )  # fmt: skip
    await buffered(cast("Front", Answering(payload)), call, send)
    return got


def test_a_client_outside_says_nothing_of_how_often_a_function_was_called() -> None:
    root = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=463ac35c9f6413ad;Sampled=1"
    sent = Request("GET", headers=(("x-amzn-trace-id", f"{root};Lineage=252f10c8:99"),))
    assert trace_id(sent) == root


@pytest.mark.parametrize(("size", "apart"), [(LARGE_BYTES, False), (LARGE_BYTES + 1, True)])
async def test_only_a_large_answer_is_read_in_a_thread(size: int, apart: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    readers: list[threading.Thread] = []

    def read(payload: bytes) -> mapping.Response:
        readers.append(threading.current_thread())
        return mapping.Response(200, (), payload)

    monkeypatch.setattr(mapping, "of_answer", read)
    start, body = await answer(b"1" * size)
    assert (start["status"], len(body["body"])) == (200, size)
    assert [reader is not threading.main_thread() for reader in readers] == [apart]


async def test_a_large_answer_that_is_none_is_a_502_that_says_nothing() -> None:
    start, body = await answer(json.dumps("x" * LARGE_BYTES).encode()[:-1])
    assert (start["status"], body["body"]) == (502, b"Internal Server Error")
