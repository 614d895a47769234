"""For tests of runtimes that speak the Runtime API: environments with a bootstrap, extensions, and small clients."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from fnrunner.runtimes import runtime_api_launch
from fnrunner.runtimes.node import NodeRuntime
from fnrunner.runtimes.provided import ProvidedRuntime
from fnrunner.runtimes.runtime import Runtime
from fnrunner.worker.environment import Environment
from tests.integration.environment_kit import Kit, make_spec

CLIENT = '''
import http.client, json, os, sys, socket, time
HOST, _, PORT = os.environ["AWS_LAMBDA_RUNTIME_API"].partition(":")
BASE = "/2018-06-01/runtime"

class Api:
    """Says what was answered as (status, headers, body)."""
    def __init__(self):
        self.connection = http.client.HTTPConnection(HOST, int(PORT))
    def __call__(self, method, path, body=None, headers={}, **more):
        self.connection.request(method, path, body, headers, **more)
        answer = self.connection.getresponse()
        return answer.status, answer.headers, answer.read()
    def next(self):
        status, headers, body = self("GET", BASE + "/invocation/next")
        assert status == 200, (status, body)
        return headers["Lambda-Runtime-Aws-Request-Id"], headers, body
    def respond(self, id, body, headers={}):
        return self("POST", f"{BASE}/invocation/{id}/response", body, headers)
    def error(self, id, body, headers={}):
        return self("POST", f"{BASE}/invocation/{id}/error", body, headers)
    def init_error(self, body, headers={}):
        return self("POST", BASE + "/init/error", body, headers)

def raw(data):
    """Everything that is answered until the other end closes or falls silent for a moment."""
    with socket.create_connection((HOST, int(PORT))) as one:
        one.sendall(data)
        one.settimeout(0.5)
        got = b""
        try:
            while piece := one.recv(65536):
                got += piece
        except TimeoutError:
            pass
        return got

def serve(handler):
    api = Api()
    while True:
        id, headers, body = api.next()
        status, _, said = api.respond(id, handler(json.loads(body), headers))
        assert status == 202, (status, said)

def extension(*events, name=os.path.basename(sys.argv[0])):
    """Registers, and answers what asks for the next event."""
    api = Api()
    status, headers, body = api("POST", "/2020-01-01/extension/register", json.dumps({"events": events}),
                                {"Lambda-Extension-Name": name})
    assert status == 200, body
    api.id = {"Lambda-Extension-Identifier": headers["Lambda-Extension-Identifier"]}
    def event():
        status, headers, body = api("GET", "/2020-01-01/extension/event/next", headers=api.id)
        assert status == 200, body
        return json.loads(body)
    api.event = event
    return api
'''
ECHO = "serve(lambda event, headers: json.dumps(event))"


def script(path: Path, source: str) -> Path:
    """An executable Python program that begins with the client above."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!{runtime_api_launch.host_python()} -S\n{CLIENT}\n{textwrap.dedent(source)}")
    path.chmod(0o755)
    return path


@dataclass
class ApiKit:
    """Environments of the Runtime API in a Kit's sandbox. ``opt`` is what /opt is on Lambda."""

    kit: Kit
    opt: Path
    runtimes: dict[str, Runtime] = field(default_factory=dict)

    def extension(self, name: str, source: str) -> None:
        script(self.opt / "extensions" / name, source)

    def environment(
        self, *, runtime: str = "provided.al2023", init_timeout: timedelta = timedelta(seconds=20), **spec: Any
    ) -> Environment:
        """Not started; the code is what is in ``kit.code``."""
        self.kit.code.mkdir(exist_ok=True)
        self.opt.mkdir(exist_ok=True)
        made: Runtime = (NodeRuntime if runtime.startswith("nodejs") else ProvidedRuntime)(opt_root=str(self.opt))
        environment = Environment(
            make_spec(self.kit.code, runtime=runtime, directories=(str(self.opt),), **spec),
            self.kit.sandbox,
            made,
            cold_reason="first",
            init_timeout=init_timeout,
        )
        self.kit.made.append(environment)
        return environment

    async def started(self, source: str | None = ECHO, **spec: Any) -> Environment:
        """With a Python program as its bootstrap."""
        if source is not None:
            script(self.kit.code / "bootstrap", source)
        environment = self.environment(**spec)
        await environment.start()
        return environment
