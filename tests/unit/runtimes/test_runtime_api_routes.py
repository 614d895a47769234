"""The rules of the Runtime API without a network: whatever a runtime does, an invocation is answered once at most."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from fnrunner.runtimes.frames import Kind
from fnrunner.runtimes.runtime_api.control import Control, Invocation
from fnrunner.runtimes.runtime_api.parser import Head
from fnrunner.runtimes.runtime_api.route import match
from fnrunner.runtimes.runtime_api.runtime_routes import Done, RuntimeRoutes
from fnrunner.runtimes.runtime_api.server import Exchange, Receiver
from tests.examples import EXAMPLES

FINAL = {Kind.RESULT, Kind.ERROR, Kind.TOO_LARGE, Kind.STREAM_END, Kind.STREAM_ERROR}
MODE = "lambda-runtime-function-response-mode"


class Worker:
    """Stands for the control socket."""

    crowded = False

    def __init__(self) -> None:
        self.frames: list[tuple[Kind, int, bytes]] = []

    def send(self, kind: int, sequence: int = 0, payload: bytes = b"") -> None:
        self.frames.append((Kind(kind), sequence, bytes(payload)))


class Client:
    """Stands for a connection: it is there until ``leave``."""

    def __init__(self) -> None:
        self.open = True
        self.answers: list[tuple[int, bytes]] = []

    def answer(self, status: int, body: bytes, headers: Any, kind: str) -> None:
        if self.open:
            self.answers.append((status, body))

    def hears(self) -> bool:
        return self.open

    def pause(self) -> None: ...
    def resume(self) -> None: ...


class World:
    """Routes, and what came of them."""

    def __init__(self) -> None:
        self.worker = Worker()
        self.done: list[Done] = []
        self.init_errors: list[bytes] = []
        self.truncated = 0
        self.given = 0
        self.bodies: list[tuple[Client, Receiver]] = []
        self.routes = RuntimeRoutes(
            cast(Control, self.worker),
            changed=lambda: None,
            answered=self.done.append,
            init_failed=self.init_errors.append,
            truncated=self._truncate,
            before_answer=lambda: None,
        )

    def _truncate(self, alive: bool) -> None:
        self.truncated += 1

    def ask(self, method: str, path: str, body: bytes | None = b"", **headers: str) -> Client:
        """``body`` None: it does not come yet."""
        client = Client()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        head = Head(
            method,
            "/2018-06-01/runtime/" + path,
            {"content-length": str(len(body or b"")), **named},
            version=b"HTTP/1.1",
        )
        exchange = Exchange(head, cast(Any, client))
        found = match(head.method, head.path)
        assert isinstance(found, tuple)
        routes: dict[str, Callable[[], Receiver]] = {
            "runtime.next": lambda: self.routes.next(exchange),
            "runtime.response": lambda: self.routes.response(exchange, found[1]),
            "runtime.error": lambda: self.routes.error(exchange, found[1]),
            "runtime.init_error": lambda: self.routes.init_error(exchange),
        }
        receiver = routes[found[0]]()
        if body is None:
            self.bodies.append((client, receiver))
        else:
            if body:
                receiver.data(body)
            receiver.end({})
        return client

    def give(self) -> None:
        """The next invocation, as the phases do it: only to who waits and has answered the last."""
        if self.routes.waiting and len(self.finals()) == self.given:
            self.given += 1
            fields = "\0".join((f"id-{self.given}", "7", "arn", "", "", "", "")).encode()
            self.routes.give(Invocation(self.given, fields, b"{}"))

    def finals(self) -> list[int]:
        return [sequence for kind, sequence, _ in self.worker.frames if kind in FINAL]


def test_the_usual_way() -> None:
    world = World()
    first = world.ask("GET", "invocation/next")
    assert (world.routes.waiting, first.answers) == (True, [])
    world.give()
    assert first.answers == [(200, b"{}")]
    assert world.ask("POST", "invocation/id-1/response", b"1").answers == [(202, b'{"status":"OK"}\n')]
    assert world.worker.frames == [(Kind.RESULT, 1, b"1")]
    assert world.ask("POST", "invocation/id-1/response", b"2").answers[0][0] == 403
    assert len(world.worker.frames) == 1


def test_a_second_runtime_that_waits_is_refused_while_the_first_is_there() -> None:
    world = World()
    first = world.ask("GET", "invocation/next")
    assert world.ask("GET", "invocation/next").answers[0][0] == 403
    first.open = False
    assert world.ask("GET", "invocation/next").answers == []


def test_after_an_error_of_the_initialisation_nothing_is_allowed() -> None:
    world = World()
    assert world.ask("POST", "init/error", b"{}").answers[0][0] == 202
    assert world.init_errors == [b"{}"]
    assert world.ask("POST", "init/error", b"{}").answers[0][0] == 403
    assert world.ask("GET", "invocation/next").answers[0][0] == 403


def test_an_error_that_says_nothing_has_the_type_of_its_header() -> None:
    world = World()
    world.ask("GET", "invocation/next")
    world.give()
    world.ask("POST", "invocation/id-1/error", b"", lambda_runtime_function_error_type="Function.Mine")
    assert world.worker.frames == [(Kind.ERROR, 1, b'{"errorType":"Function.Mine","errorMessage":""}')]
    assert (world.done[0].status, world.done[0].error_type) == ("error", "Function.Mine")


def test_a_content_type_that_cannot_be_passed_on_is_refused_and_another_may_follow() -> None:
    world = World()
    world.ask("GET", "invocation/next")
    world.give()
    for wrong in ("x" * 300, "text/\u00e9"):
        streamed = {"lambda_runtime_function_response_mode": "streaming", "content_type": wrong}
        assert world.ask("POST", "invocation/id-1/response", b"1", **streamed).answers[0][0] == 400
    assert world.ask("POST", "invocation/id-1/response", b"1").answers[0][0] == 202


def test_a_runtime_that_asks_on_after_its_answer_broke_off_lives() -> None:
    world = World()
    world.ask("GET", "invocation/next")
    world.give()
    world.ask("POST", "invocation/id-1/response", None)
    world.bodies[0][1].lost()
    assert world.truncated == 1
    assert world.ask("GET", "invocation/next").answers[0][0] == 403
    assert world.truncated == 2


def test_the_platforms_own_failure_wins_over_a_stream_that_ends_later() -> None:
    world = World()
    world.ask("GET", "invocation/next")
    world.give()
    world.ask("POST", "invocation/id-1/response", None, lambda_runtime_function_response_mode="streaming")
    world.routes.fail_current("Extension.Crash", "so")
    world.bodies[0][1].data(b"late")
    world.bodies[0][1].end({})
    assert [kind for kind, _, _ in world.worker.frames] == [Kind.STREAM_START, Kind.FAULT]
    assert world.bodies[0][0].answers[0][0] == 403


steps = st.one_of(
    st.sampled_from(["next", "give", "init error", "end", "lose", "leave", "cancel", "trailers"]),
    st.tuples(
        st.sampled_from(["response", "error"]),
        st.integers(0, 3),
        st.sampled_from(["", "buffered", "streaming", "sideways"]),
        st.sampled_from([b"", b"1", None]),
    ),
)


@settings(max_examples=3 * EXAMPLES)
@given(st.lists(steps, max_size=25))
def test_whatever_a_runtime_does_each_invocation_is_answered_once_at_most(taken: list[Any]) -> None:
    world, clients = World(), list[Client]()
    for step in taken:
        match step:
            case "next":
                clients.append(world.ask("GET", "invocation/next"))
            case "give":
                world.give()
            case "init error":
                clients.append(world.ask("POST", "init/error", b"{}"))
            case "leave":
                for client in clients[-1:]:
                    client.open = False
            case "cancel":
                world.routes.cancel(world.given)
            case "end" | "lose" | "trailers" if world.bodies:
                client, receiver = world.bodies.pop(0)
                if step == "lose":
                    client.open = False
                    receiver.lost()
                else:
                    receiver.data(b"some")
                    receiver.end({"lambda-runtime-function-error-type": "Function.X"} if step == "trailers" else {})
                clients.append(client)
            case (str(action), int(number), str(mode), body):
                clients.append(
                    world.ask("POST", f"invocation/id-{number}/{action}", body, **{MODE: mode} if mode else {})
                )
    finals = world.finals()
    assert all(count == 1 for count in Counter(finals).values())
    assert finals == list(range(1, len(finals) + 1))
    assert len(world.done) == len(finals)
    assert all(len(client.answers) <= 1 for client in clients)
    assert {status for client in clients for status, _ in client.answers} <= {200, 202, 400, 403}
