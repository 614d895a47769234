"""Inside the environment: lets the bootstrap answer by the Runtime API, where extensions run beside the function.

Started as ``pythonX.Y FLAGS python_bridge.py TASK_ROOT LAYERS`` by the program of ``runtime_api``, which says in
``AWS_LAMBDA_RUNTIME_API`` where it listens; Python 3.9 and later, standard library only, never imported by fnrunner.

::

    Runtime API ◄── HTTP ── a thread ◄── frames over a pair of sockets ── python_bootstrap.py, as everywhere

The bootstrap does not know the difference. When it ends, the thread passes on what it said last. When the API does not
answer any more, the pair is closed, and the bootstrap leaves.
"""

from __future__ import annotations

import base64
import http.client
import os
import re
import runpy
import socket
import sys
import threading
from struct import Struct

HELLO, READY, INIT_ERROR, RESULT, ERROR, TOO_LARGE, INVOKE = range(1, 8)
STREAM_START, CHUNK, STREAM_END, STREAM_ERROR, CANCEL = range(8, 13)
HEADER = Struct(">BIII")
BASE = "/2018-06-01/runtime"
ERROR_TYPE = "Lambda-Runtime-Function-Error-Type"
ERROR_BODY = "Lambda-Runtime-Function-Error-Body"
FIELDS = (
    "Lambda-Runtime-Aws-Request-Id", "Lambda-Runtime-Deadline-Ms", "Lambda-Runtime-Invoked-Function-Arn",
    "Lambda-Runtime-Trace-Id", "Traceparent", "Tracestate", "Lambda-Runtime-Client-Context",
)  # fmt: skip
"""The fields of an INVOKE frame, in its order."""

ZEROS = bytes(64 * 1024)
LAST_WORDS_S = 5.0
_ERROR_NAME = re.compile(rb'"errorType"\s*:\s*"([^"\\]{1,256})"')


class Bridge:
    """Runs in a thread of its own until the bootstrap or the API has ended."""

    def __init__(self, pair: socket.socket, address: str) -> None:
        self.pair = pair
        self.api = http.client.HTTPConnection(address)
        self.sequence = 0

    def run(self) -> None:
        try:
            while True:
                kind, payload = self.receive()
                if kind == INIT_ERROR:
                    self.post("/init/error", payload, {ERROR_TYPE: error_type(payload)})
                    return
                if kind != HELLO:
                    self.invoke()
        except (OSError, EOFError, http.client.HTTPException):
            pass  # one of the two has ended
        finally:
            self.pair.close()

    def invoke(self) -> None:
        """One invocation after the other."""
        while True:
            self.api.request("GET", f"{BASE}/invocation/next")
            response = self.api.getresponse()
            event = response.read()
            if response.status != 200:
                raise EOFError
            self.sequence += 1
            fields = "\0".join(response.getheader(name, "") for name in FIELDS).encode("latin-1")
            head = HEADER.pack(INVOKE, self.sequence, len(fields), len(event))
            self.pair.sendall(head + fields)
            self.pair.sendall(event)
            self.answer(f"/invocation/{response.getheader(FIELDS[0])}")

    def answer(self, path: str) -> None:
        kind, payload = self.receive()
        if kind == STREAM_START:
            self.stream(path, payload)
        elif kind == ERROR:
            self.post(f"{path}/error", payload, {ERROR_TYPE: error_type(payload)})
        elif kind == TOO_LARGE:
            self.too_large(path, int(payload))
        elif kind == STREAM_END:
            self.post(f"{path}/response", b"", {})
        else:
            self.post(f"{path}/response", payload, {"Content-Type": "application/json"})

    def post(self, path: str, body: bytes, headers: dict[str, str]) -> None:
        self.api.request("POST", BASE + path, body, headers)
        self.api.getresponse().read()

    def too_large(self, path: str, size: int) -> None:
        """The bootstrap has kept the answer for itself: as many bytes are refused in its place."""
        self.api.putrequest("POST", f"{BASE}{path}/response")
        self.api.putheader("Content-Length", str(size))
        self.api.endheaders()
        try:
            while size > 0:
                self.api.send(ZEROS[:size])
                size -= len(ZEROS)
        except OSError:
            pass  # refused before it was sent
        try:
            self.api.getresponse().read()
        except (OSError, http.client.HTTPException):
            pass
        self.api.close()

    def stream(self, path: str, content_type: bytes) -> None:
        self.api.putrequest("POST", f"{BASE}{path}/response")
        self.api.putheader("Content-Type", content_type.decode("latin-1"))
        self.api.putheader("Lambda-Runtime-Function-Response-Mode", "streaming")
        self.api.putheader("Transfer-Encoding", "chunked")
        self.api.putheader("Trailer", f"{ERROR_TYPE}, {ERROR_BODY}")
        self.api.endheaders()
        gone = False
        while True:
            kind, payload = self.receive()
            ended = kind != CHUNK
            if not gone:
                try:
                    self.api.send(trailers(kind, payload) if ended else b"%x\r\n%b\r\n" % (len(payload), payload))
                except OSError:
                    # nobody wants the rest
                    gone = True
                    self.pair.sendall(HEADER.pack(CANCEL, self.sequence, 0, 0))
            if ended:
                break
        if gone:
            self.api.close()
        else:
            self.api.getresponse().read()

    def receive(self) -> tuple[int, bytes]:
        kind, _, fields, size = HEADER.unpack(self.exactly(HEADER.size))
        return kind, self.exactly(fields + size)

    def exactly(self, size: int) -> bytes:
        """Raises EOFError when the bootstrap has left."""
        data = bytearray(size)
        view = memoryview(data)
        while view:
            count = self.pair.recv_into(view)
            if not count:
                raise EOFError
            view = view[count:]
        return bytes(data)


def trailers(kind: int, payload: bytes) -> bytes:
    """The end of a chunked body; of one that failed with the reason."""
    if kind == STREAM_END:
        return b"0\r\n\r\n"
    told = base64.b64encode(payload)
    return b"0\r\n%b: %b\r\n%b: %b\r\n\r\n" % (
        ERROR_TYPE.encode(), error_type(payload).encode(), ERROR_BODY.encode(), told,
    )  # fmt: skip


def error_type(payload: bytes) -> str:
    """As a header has it."""
    match = _ERROR_NAME.search(payload)
    return match[1].decode("utf-8", "replace").encode("ascii", "replace").decode() if match else ""


def main() -> None:
    ours, theirs = socket.socketpair()
    bridge = Bridge(ours, os.environ["AWS_LAMBDA_RUNTIME_API"])
    thread = threading.Thread(target=bridge.run, name="fnrunner-runtime-api", daemon=True)
    thread.start()
    here = os.path.dirname(os.path.abspath(__file__))
    bootstrap = os.path.join(here, "python_bootstrap.py")
    descriptor = theirs.detach()
    if sys.path[0] == here:
        del sys.path[0]
    sys.argv[:] = [bootstrap, str(descriptor), *sys.argv[1:]]
    try:
        runpy.run_path(bootstrap, run_name="__main__")
    finally:
        try:
            os.close(descriptor)
        except OSError:
            pass  # the function closed it
        thread.join(LAST_WORDS_S)


if __name__ == "__main__":
    main()
