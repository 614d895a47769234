"""Runtimes of one's own in other languages than Python, and Lambda's own runtime interface clients, unmodified.

The clients of AWS are not part of the test dependencies: ``FNRUNNER_TEST_RIC=python=DIRECTORY,node=DIRECTORY`` names where
``pip install --target DIRECTORY awslambdaric`` and ``npm install aws-lambda-ric`` (in DIRECTORY) have put them; each then
answers a thousand invocations. Without the variable these tests are skipped. ``FNRUNNER_TEST_INVOCATIONS=N`` sets how many
each runtime answers; without it the shell, which starts several processes for each, answers twenty.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from fnrunner.model.invocation import FunctionError, Succeeded
from fnrunner.runtimes import runtime_api_launch
from fnrunner.worker.environment import Environment, EnvironmentState
from tests.integration.environment_kit import invocation, kit
from tests.integration.runtime_api_kit import ApiKit

RIC = dict(pair.split("=", 1) for pair in os.environ.get("FNRUNNER_TEST_RIC", "").split(",") if "=" in pair)
ASKED = os.environ.get("FNRUNNER_TEST_INVOCATIONS", "")
MANY, FEW = int(ASKED or 1000), int(ASKED or 20)


@pytest.fixture
async def made(tmp_path: Path) -> AsyncIterator[ApiKit]:
    async with kit("full", tmp_path) as full:
        yield ApiKit(full, tmp_path / "opt")


@pytest.fixture(params=["namespace", "bare"])
async def each(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ApiKit]:
    """For what depends on the sandbox."""
    async with kit(request.param, tmp_path) as sandboxed:
        yield ApiKit(sandboxed, tmp_path / "opt")


async def started(made: ApiKit, bootstrap: str, **spec: object) -> Environment:
    made.kit.code.mkdir(exist_ok=True)
    file = made.kit.code / "bootstrap"
    file.write_text(bootstrap)
    file.chmod(0o755)
    return await made.started(None, **spec)


async def echoes(environment: Environment, times: int) -> None:
    """So many invocations, each answered with its own event."""
    for number in range(times):
        event = json.dumps({"number": number, "text": "é" * 10}, separators=(",", ":")).encode()
        answer = await environment.invoke(invocation(event, f"request-{number}"))
        assert isinstance(answer.outcome, Succeeded), (number, answer)
        assert json.loads(answer.outcome.payload) == json.loads(event)
    await environment.rest()
    assert environment.state is EnvironmentState.IDLE
    assert environment.invocations == times


SHELL = """#!/bin/sh
set -eu
API="http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime"
while true; do
    HEADERS="$(mktemp)"
    EVENT="$(curl -sS -D "$HEADERS" "$API/invocation/next")"
    ID="$(grep -Fi Lambda-Runtime-Aws-Request-Id "$HEADERS" | tr -d '[:space:]' | cut -d: -f2)"
    rm "$HEADERS"
    curl -sS -o /dev/null -d "$EVENT" "$API/invocation/$ID/response"
done
"""


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl is on this host")
async def test_a_shell_script_with_curl_is_a_runtime(each: ApiKit) -> None:
    await echoes(await started(each, SHELL), FEW)


C = r"""
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

static char in[1 << 20], out[1 << 20];

static char *exchange(int fd, int size, int *length) {
    char *body = NULL;
    int got = 0, wanted = -1;
    if (write(fd, out, size) != size) exit(1);
    while (wanted < 0 || got < wanted) {
        int count = read(fd, in + got, sizeof in - got - 1);
        if (count <= 0) exit(2);
        got += count;
        in[got] = 0;
        if (!body && (body = strstr(in, "\r\n\r\n"))) {
            body += 4;
            *length = atoi(strcasestr(in, "content-length:") + 15);
            wanted = body - in + *length;
        }
    }
    return body;
}

int main(void) {
    char host[64], id[128];
    struct sockaddr_in to = {.sin_family = AF_INET};
    int fd = socket(AF_INET, SOCK_STREAM, 0), length;
    strncpy(host, getenv("AWS_LAMBDA_RUNTIME_API"), sizeof host - 1);
    char *port = strchr(host, ':');
    *port++ = 0;
    to.sin_port = htons(atoi(port));
    inet_pton(AF_INET, host, &to.sin_addr);
    if (connect(fd, (struct sockaddr *)&to, sizeof to)) return 3;
    for (;;) {
        int size = sprintf(out, "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\n\r\n");
        char *event = exchange(fd, size, &length);
        char *at = strcasestr(in, "lambda-runtime-aws-request-id:") + 30;
        sscanf(at, " %127[^\r\n]", id);
        size = sprintf(out, "POST /2018-06-01/runtime/invocation/%s/response HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n",
                       id, length);
        memcpy(out + size, event, length);
        exchange(fd, size + length, &length);
    }
}
"""


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler is on this host")
async def test_a_compiled_program_over_a_raw_socket_is_a_runtime(made: ApiKit, tmp_path: Path) -> None:
    made.kit.code.mkdir()
    source = tmp_path / "bootstrap.c"
    source.write_text("#define _GNU_SOURCE\n" + C)
    subprocess.run(["gcc", "-O1", "-o", made.kit.code / "bootstrap", source], check=True)
    await echoes(await made.started(None, runtime="provided.al2"), MANY)


def ric(language: str) -> Path:
    if language not in RIC:
        pytest.skip(f"FNRUNNER_TEST_RIC names no client for {language}")
    return Path(RIC[language]).resolve()


PYTHON_HANDLER = """
import logging
def handler(event, context):
    if event.get("fail"):
        raise ValueError("so")
    if event.get("exit"):
        import os; os._exit(3)
    assert context.get_remaining_time_in_millis() > 0
    print("ran", context.aws_request_id)
    return event
"""
NODE_HANDLER = """
exports.handler = async (event, context) => {
    if (event.fail) throw new TypeError('so');
    if (event.exit) process.exit(3);
    console.log('ran', context.awsRequestId);
    return event;
};
exports.stream = awslambda.streamifyResponse(async (event, stream) => {
    stream.write('a'.repeat(100000));
    stream.end('b');
});
"""


@pytest.mark.parametrize("language", ["python", "node"])
async def test_lambdas_own_client_runs_unmodified(each: ApiKit, language: str) -> None:
    where = ric(language)
    each.kit.code.mkdir()
    (each.kit.code / "f.py").write_text(PYTHON_HANDLER)
    (each.kit.code / "f.js").write_text(NODE_HANDLER)
    shutil.copytree(where, each.kit.code / "client", symlinks=True)
    commands = {
        "python": f"export PYTHONPATH=client\nexec {runtime_api_launch.host_python()} -m awslambdaric f.handler",
        "node": f"exec {shutil.which('node')} client/node_modules/aws-lambda-ric/bin/index.mjs f.handler",
    }
    environment = await started(
        each, f"#!/bin/sh\n{commands[language]}\n", memory_mb=256, timeout=timedelta(seconds=30)
    )
    await echoes(environment, MANY)
    outcome = (await environment.invoke(invocation(b'{"fail": 1}'))).outcome
    assert isinstance(outcome, FunctionError)
    assert outcome.message == "so"
    assert outcome.error_type == {"python": "ValueError", "node": "TypeError"}[language]
    outcome = (await environment.invoke(invocation(b'{"exit": 1}'))).outcome
    assert isinstance(outcome, FunctionError)
    assert outcome.message == "RequestId: request-1 Error: Runtime exited with error: exit status 3"


async def test_lambdas_own_node_client_streams(made: ApiKit) -> None:
    where = ric("node")
    made.kit.code.mkdir()
    (made.kit.code / "f.js").write_text(NODE_HANDLER)
    shutil.copytree(where, made.kit.code / "client", symlinks=True)
    command = f"exec {shutil.which('node')} client/node_modules/aws-lambda-ric/bin/index.mjs f.stream"
    environment = await started(made, f"#!/bin/sh\n{command}\n", memory_mb=256)
    for _ in range(3):
        assert (await environment.invoke(invocation())).outcome == Succeeded(b"a" * 100_000 + b"b")
