"""What breaks off in the middle of a file says how much has arrived, and from which line to go on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fnrunner.cli.error import CliError, ServerRefused, ServerUnreachable, UsageFault
from fnrunner.cli.json_lines import JsonLines


def lines_of(tmp_path: Path, *lines: str) -> JsonLines:
    (tmp_path / "file").write_text("\n".join(lines) + "\n")
    return JsonLines(str(tmp_path / "file"), "put", lambda item: item)


def numbered(count: int) -> list[str]:
    return [json.dumps({"n": n}) for n in range(count)]


def test_all_lines_arrive_in_batches_and_empty_ones_are_passed_over(tmp_path: Path) -> None:
    sent: list[list[dict[str, Any]]] = []
    lines_of(tmp_path, '{"n": 1}', "", '{"n": 2}', '{"n": 3}').deliver(2, sent.append)
    assert sent == [[{"n": 1}, {"n": 2}], [{"n": 3}]]


def test_a_bad_first_line_does_not_claim_that_others_arrived(tmp_path: Path) -> None:
    with pytest.raises(UsageFault, match="line 1 is not JSON") as caught:
        lines_of(tmp_path, "nope", *numbered(5)).deliver(2, lambda _: None)
    assert caught.value.remedy == "Nothing was put."


@pytest.mark.parametrize("bad", ["nope", "[1]"])
def test_a_bad_line_says_up_to_which_the_others_arrived(tmp_path: Path, bad: str) -> None:
    with pytest.raises(UsageFault, match="line 7 is") as caught:
        lines_of(tmp_path, *numbered(4), "", "{}", bad).deliver(2, lambda _: None)
    assert caught.value.remedy == "4 were put, up to line 4: go on from line 5."


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            ServerUnreachable("gone", "Start it."),
            "2 were certainly put; those of lines 3 to 4 may have been, in part. Go on",
        ),
        (ServerRefused("broker away", "Start it.", http_status=503), "2 were certainly put; those of lines 3 to 4 may"),
        (
            ServerRefused("too long", "Start it.", http_status=400),
            "2 were put, up to line 2: go on from line 3. Start it.",
        ),
    ],
)
def test_a_server_that_breaks_off_says_what_is_certain(tmp_path: Path, error: CliError, told: str) -> None:
    batches: list[object] = []

    def send(batch: object) -> None:
        if batches:
            raise error
        batches.append(batch)

    with pytest.raises(type(error)) as caught:
        lines_of(tmp_path, *numbered(9)).deliver(2, send)
    assert caught.value.remedy.startswith(told)
    assert caught.value.remedy.endswith("Start it.")


def test_an_interruption_says_it_too(tmp_path: Path) -> None:
    def send(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(CliError) as caught:
        lines_of(tmp_path, *numbered(9)).deliver(2, send)
    assert caught.value.status == 130
    assert caught.value.remedy.startswith("None is certain to be put; those of lines 1 to 2 may have been")
