"""What an editor is told so that it can attach, and what is refused before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from fnrunner.cli import debug
from fnrunner.cli.debug import LogPrinter, debugging, how_to_attach, launch_json
from fnrunner.cli.error import CliError
from fnrunner.cli.main import run
from fnrunner.local.run import Attachment

HERE = Attachment("127.0.0.1", 5678, "/var/task")


def test_without_a_source_the_open_folder_is_mapped_to_the_code() -> None:
    [configuration] = launch_json("f", HERE, None)["configurations"]
    assert configuration["request"] == "attach"
    assert configuration["connect"] == {"host": "127.0.0.1", "port": 5678}
    assert configuration["pathMappings"] == [{"localRoot": "${workspaceFolder}", "remoteRoot": "/var/task"}]


def test_a_source_is_mapped_by_its_absolute_path(tmp_path: Path) -> None:
    def local_root(source: Path) -> object:
        return launch_json("f", HERE, source)["configurations"][0]["pathMappings"][0]["localRoot"]

    (tmp_path / "app.py").touch()
    assert local_root(tmp_path) == str(tmp_path.resolve())
    assert local_root(tmp_path / "app.py") == str(tmp_path.resolve())


def test_one_line_says_how_to_attach_and_that_there_is_no_timeout() -> None:
    first = how_to_attach("f", HERE, None).splitlines()[0]
    assert "127.0.0.1:5678" in first
    assert "no timeout" in first


def test_a_missing_debugpy_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debug, "package_of", lambda name: None)
    with pytest.raises(CliError) as found:
        debugging(None, "python3.12")
    assert found.value.remedy == "pip install 'fnrunner[debug]' adds it."


def test_a_package_is_found_without_importing_it() -> None:
    assert debug.package_of("json") == str(Path(str(__import__("json").__file__)).parent.resolve())
    assert debug.package_of("this_is_not_installed") is None


def test_a_log_is_printed_by_lines_however_it_comes() -> None:
    shown: list[str] = []
    printer = LogPrinter(shown.append, "| ")
    for piece in (b"on", b"e\ntw\xc3", b"\xa9\n\x1b[2J", b"end"):
        printer.write(piece)
    assert shown == ["| one", "| tw\u00e9"]
    printer.end()
    printer.end()
    assert shown[2:] == ["| \\x1b[2Jend"]


@pytest.mark.parametrize(
    "words",
    [
        ("invoke", "f", "--debug", "--async"),
        ("invoke", "f", "--debug", "--stream"),
        ("invoke", "f", "--debug", "--tail"),
        ("invoke", "f", "--debug-port", "1"),
        ("invoke", "f", "--code", "."),
        ("replay", "id", "--debug-port", "1"),
        ("replay", "id", "--original", "--event", "{}"),
        ("replay", "id", "--repeatable", "half"),
        ("replay", "--repeatable", "id"),
        ("replay",),
    ],
)
def test_options_that_mean_nothing_together_are_refused(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words) == 2
    assert capsys.readouterr().err.startswith("fnrunner: ")
