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


class Example:
    """The example ``name``, copied to where ``server`` has its data. ``words`` replaces what a reader would fill in."""

    def __init__(self, name: str, server: Installation, words: Mapping[str, str] = {}) -> None:
        source = ROOT / "examples" / name
        readme = (source / "README.md").read_text()
        self.steps = re.findall(r"^```console\n(.*?)^```", readme, re.DOTALL | re.MULTILINE)
        self.folder = server.directory / name
        self.words = {"python3.11": RUNTIME, **words}
        self._server = server
        shutil.copytree(source, self.folder, ignore=shutil.ignore_patterns("__pycache__"))

    def run(self, step: str) -> str:
        """Every line of a step; what it printed. Fails with what it printed when a line's status is not 0."""
        return "".join(self._line(line) for line in step.strip().splitlines())

    def _line(self, line: str) -> str:
        for word, value in self.words.items():
            line = line.replace(word, value)
        command, _, target = line.partition(" > ")
        words = shlex.split(command)
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


def buckets(server: Installation) -> Path:
    """Where buckets without a directory of their own are."""
    return server.directory / "data" / "buckets"
