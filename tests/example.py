"""An example as its README tells it: each ``console`` block is run as it stands, in a copy of the example's folder."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.installation import ROOT, RUNTIME, Installation


class Readme:
    """The steps of a README, run in ``folder``. ``words`` replaces what a reader would fill in."""

    def __init__(self, readme: Path, folder: Path, server: Installation, words: Mapping[str, str]) -> None:
        self.steps = re.findall(r"^```console\n(.*?)^```", readme.read_text(), re.DOTALL | re.MULTILINE)
        self.folder = folder
        self.words = {"python3.11": RUNTIME, **words}
        self._server = server

    def run(self, step: str) -> str:
        """Every line of a step; what it printed. Fails with what it printed when a line's status is not 0."""
        return "".join(self._line(line) for line in step.splitlines() if line.strip())

    def _line(self, line: str) -> str:
        for word, value in self.words.items():
            line = line.replace(word, value)
        command, _, target = line.partition(" > ")
        words = shlex.split(command)
        if words[0] == "cd":
            # from where the project is, which the copy stands for
            assert words[1:] == [f"examples/{self.folder.name}"], line
            return ""
        programs = {"fnrunner": [sys.executable, "-m", "fnrunner"], "python": [sys.executable], "curl": ["curl"]}
        done = subprocess.run(
            [*programs[words[0]], *words[1:]],
            cwd=self.folder,
            env={**self._server.environ, "XDG_CACHE_HOME": str(self._server.directory / "cache")},
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        if target:
            (self.folder / target).write_text(done.stdout)
        return done.stdout


class Example(Readme):
    """The example ``name``, copied to where ``server`` has its data."""

    def __init__(self, name: str, server: Installation, words: Mapping[str, str] | None = None) -> None:
        source, folder = ROOT / "examples" / name, server.directory / name
        shutil.copytree(source, folder, ignore=shutil.ignore_patterns("__pycache__"))
        super().__init__(source / "README.md", folder, server, words or {})


def buckets(server: Installation) -> Path:
    """Where buckets without a directory of their own are."""
    return server.directory / "data" / "buckets"
