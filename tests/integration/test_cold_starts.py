"""Why environments were cold, as an installation records and shows it."""

from __future__ import annotations

import json
from pathlib import Path

from tests.installation import Installation, eventually, zipped

SOURCE = """
import colorsys, os, time
def handler(event, context):
    time.sleep((event or {}).get("sleep", 0))
    if (event or {}).get("exit"):
        os._exit(3)
    return 1
"""


def test_each_reason_is_recorded_and_shown(tmp_path: Path) -> None:
    with Installation(tmp_path, FNRUNNER_IDLE_TIMEOUT_S="1") as installation:
        installation.start("dev")
        installation.deploy("f", SOURCE)

        def reasons() -> dict[str, int]:
            found: dict[str, int] = installation.admin("functions/f/cold-starts")["reasons"]
            return found

        installation.call("f", {})
        eventually(lambda: reasons() == {"first": 1})
        installation.call("f", {"exit": True})
        installation.call("f", {})
        eventually(lambda: reasons() == {"first": 1, "crashed": 1})
        installation.client().update_function_code(
            FunctionName="f", ZipFile=zipped({"app.py": SOURCE + "\nchanged = 1\n"})
        )
        installation.call("f", {})
        eventually(lambda: reasons().get("reload") == 1)
        # its time without use is over at the next look of the reaper
        eventually(lambda: "recycled" in (installation.call("f", {}), reasons())[1], every_s=7, within_s=60)

        found = installation.admin("functions/f/cold-starts", limit=2)
        assert found["runs"] >= found["cold"] >= 4
        assert len(found["starts"]) == 2
        assert found["starts"][-1]["init_ms"] > 0
        assert found["starts"][-1]["imports"]["imports"] is not None

        page = installation.command("cold", "f").stdout
        assert "reload" in page
        assert "the one before ended" in page
        assert json.loads(installation.command("cold", "f", "--json").stdout)["reasons"]["reload"] == 1
        event_id = found["starts"][-1]["event_id"]
        assert installation.story(event_id)["attempts"][0]["imports"]["modules"] >= 0
