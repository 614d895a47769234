"""From outside: a function that comes up too often in one chain of calls is stopped, unless it may go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx

from fnrunner.model import lineage
from tests.installation import Installation

SOURCE = "import os\ndef handler(event, context): return os.environ['_X_AMZN_TRACE_ID']\n"
ROOT = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=463ac35c9f6413ad;Sampled=0"


def test_a_loop_is_ended_after_sixteen_rounds_and_goes_on_where_it_is_allowed(tmp_path: Path) -> None:
    with Installation(tmp_path) as installation:
        installation.start("dev")
        client = installation.client()
        installation.deploy("f", SOURCE)

        def called(header: str, kind: str = "RequestResponse") -> httpx.Response:
            path = "/2015-03-31/functions/f/invocations"
            headers = {"x-amzn-trace-id": header, "x-amz-invocation-type": kind}
            return installation.http.post(path, content=b"{}", headers=headers)

        header: str = called(ROOT).json()
        for round_ in range(1, lineage.MOST + 1):
            assert lineage.times(lineage.of(header), "f") == round_
            assert header.startswith("Root=1-5759e988-bd862e3fe1be46a994272793;")
            answer: Any = called(header)
            header = answer.json() if round_ < lineage.MOST else header
        for kind in ("RequestResponse", "Event"):
            refused = called(header, kind)
            assert (refused.status_code, refused.headers["x-amzn-errortype"]) == (400, "RecursiveInvocationException")
            assert "recursive loop" in refused.json()["Message"]
        ring = f"{ROOT};Lineage=00000000:{lineage.LONGEST - 1}"
        assert [called(ring).status_code, called(called(ring).json()).status_code] == [200, 400]
        assert client.get_function_recursion_config(FunctionName="f")["RecursiveLoop"] == "Terminate"
        client.put_function_recursion_config(FunctionName="f", RecursiveLoop="Allow")
        assert lineage.times(lineage.of(called(header).json()), "f") == lineage.MOST + 1
        client.put_function_recursion_config(FunctionName="f", RecursiveLoop="Terminate")
        assert called(header).status_code == 400
        assert called(ROOT).status_code == 200
