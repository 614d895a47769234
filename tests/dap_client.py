"""The Debug Adapter Protocol as an editor speaks it, in so far as tests need it. Blocking, with a timeout on every wait.

Source: the Debug Adapter Protocol's specification; the attach request is debugpy's.
"""

from __future__ import annotations

import json
import socket
from types import TracebackType
from typing import Any, Self

PATIENCE_S = 30.0


class DapError(AssertionError):
    """A request was refused, or the adapter has gone."""


class DapClient:
    """One debugging session over a socket."""

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.create_connection((host, port), timeout=PATIENCE_S)
        self._file = self._socket.makefile("rb")
        self._sequence = 0
        self._events: list[dict[str, Any]] = []
        self._responses: dict[int, dict[str, Any]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._file.close()
        self._socket.close()

    def attach(self, configuration: dict[str, Any], breakpoints: dict[str, list[int]]) -> list[dict[str, Any]]:
        """Attach by a configuration of launch.json; the breakpoints (lines of each file) as the adapter took them."""
        self.request("initialize", clientID="test", adapterID="debugpy", linesStartAt1=True, pathFormat="path")
        attaching = self.send("attach", **configuration)
        self.event("initialized")
        taken: list[dict[str, Any]] = []
        for path, lines in breakpoints.items():
            wanted = [{"line": line} for line in lines]
            taken += self.request("setBreakpoints", source={"path": path}, breakpoints=wanted)["breakpoints"]
        self.request("configurationDone")
        self.response(attaching)
        return taken

    def frame(self, thread: int) -> dict[str, Any]:
        """The innermost frame of a stopped thread."""
        found: dict[str, Any] = self.request("stackTrace", threadId=thread, levels=1)["stackFrames"][0]
        return found

    def variables(self, frame: int) -> dict[str, str]:
        """The local variables of a frame."""
        scopes = self.request("scopes", frameId=frame)["scopes"]
        found = self.request("variables", variablesReference=scopes[0]["variablesReference"])["variables"]
        return {one["name"]: one["value"] for one in found}

    def request(self, command: str, **arguments: Any) -> dict[str, Any]:
        """The body of the response."""
        return self.response(self.send(command, **arguments))

    def send(self, command: str, **arguments: Any) -> int:
        """The number under which the response comes."""
        self._sequence += 1
        message = {"seq": self._sequence, "type": "request", "command": command, "arguments": arguments}
        body = json.dumps(message).encode()
        self._socket.sendall(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        return self._sequence

    def response(self, sequence: int) -> dict[str, Any]:
        while sequence not in self._responses:
            self._read()
        response = self._responses.pop(sequence)
        if not response["success"]:
            raise DapError(f"{response['command']}: {response.get('message')}")
        body: dict[str, Any] = response.get("body") or {}
        return body

    def event(self, name: str) -> dict[str, Any]:
        """The body of the next event of this name; others are kept."""
        while True:
            for index, event in enumerate(self._events):
                if event["event"] == name:
                    del self._events[index]
                    body: dict[str, Any] = event.get("body") or {}
                    return body
            self._read()

    def _read(self) -> None:
        length = 0
        while line := self._file.readline().strip():
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        if not length:
            raise DapError("the debug adapter has gone")
        message = json.loads(self._file.read(length))
        if message["type"] == "response":
            self._responses[message["request_seq"]] = message
        elif message["type"] == "event":
            self._events.append(message)
