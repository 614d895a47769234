"""SAM's own translator judges a template, in a process of its own while the deployer goes on, and its verdicts are kept.

::

    prepare ──► the deployer reads, asks the server, packages ──► ask ──► compares ──► check
       └─ a process imports the translator meanwhile ──────────────┴─ translates ────────┘

What has been accepted is known again by its digest (``$XDG_CACHE_HOME/fnrunner/verdicts/TEXT-DIGEST``): only what is new
is judged; a text that has been seen needs no process to be prepared.
A judge that dies, or says nothing, is an error: nothing is deployed that has not been judged.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from datetime import timedelta
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

from fnrunner.cli.deploy import cache, translator
from fnrunner.cli.deploy.fault import Faults
from fnrunner.cli.deploy.spec import Case
from fnrunner.cli.deploy.translator import Cause
from fnrunner.cli.error import CliError

PATIENCE = timedelta(seconds=120)
KEPT = 64


class JudgeFailed(CliError):
    """aws-sam-translator could not be asked about the template."""


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Where verdicts are kept."""
    return cache.folder(environ, "verdicts")


class Judge:
    """For one deployment of a template's ``text``. ``close`` when it is over, whatever came of it."""

    def __init__(self, kept_in: Path, text: str, *, use_cache: bool = True) -> None:
        self._cache = kept_in
        self._label = sha256(text.encode()).hexdigest()[:16]
        self._use_cache = use_cache
        self._clerk: _Clerk | None = None
        self._case: Case | None = None

    @cached_property
    def _version(self) -> str:
        from importlib import metadata

        return metadata.version("aws-sam-translator")

    def prepare(self) -> None:
        """Begin to import what it takes, unless the template's text is known already."""
        known = self._use_cache and any(self._cache.glob(f"{self._label}-*"))
        if not known and not _is_imported():
            self._clerk = _Clerk()

    def ask(self, case: Case) -> None:
        """Begin to judge. The answer is :meth:`check`'s."""
        self._case = case
        if self._is_known(case) or _is_imported():
            # imported meanwhile, where roles have been made
            self.close()
        else:
            self._clerk = self._clerk or _Clerk()
            self._clerk.ask(case)

    def check(self) -> None:
        """Raises TemplateFault for what the translator refuses, JudgeFailed."""
        case = self._case
        assert case is not None, "asked before"
        if self._is_known(case):
            # by this text too, so that nothing is prepared for it the next time
            self._remember(case)
            return
        causes = self._clerk.answer() if self._clerk else translator.judged(_copy(case.template), case.region)
        faults = Faults(case.file)
        for cause in causes:
            logical = cause.logical if cause.logical in case.lines else _named(cause.message, case.lines)
            where = f"Resources.{logical}" if logical else "Resources"
            faults.add(case.lines[logical], where, f"is refused by aws-sam-translator: {cause.message}")
        faults.check()
        self._remember(case)

    def close(self) -> None:
        """Harmless when it is closed."""
        if self._clerk:
            self._clerk.close()
            self._clerk = None

    def _is_known(self, case: Case) -> bool:
        return self._use_cache and any(self._cache.glob(f"*-{self._digest(case)}"))

    def _digest(self, case: Case) -> str:
        asked = json.dumps([self._version, case.template, case.region], sort_keys=True)
        return sha256(asked.encode()).hexdigest()

    def _remember(self, case: Case) -> None:
        """Only what was accepted; a cache that cannot be written is done without."""
        try:
            self._cache.mkdir(parents=True, exist_ok=True)
            (self._cache / f"{self._label}-{self._digest(case)}").touch()
            files = sorted(self._cache.iterdir(), key=lambda file: file.stat().st_mtime)
            for old in files[:-KEPT]:
                old.unlink(missing_ok=True)
        except OSError:
            pass


def _is_imported() -> bool:
    """Then asking costs less here than elsewhere."""
    return f"{translator.PACKAGE}.translator.translator" in sys.modules


def _copy(template: Mapping[str, Any]) -> dict[str, Any]:
    copied: dict[str, Any] = json.loads(json.dumps(template))
    return copied


def _named(message: str, lines: Mapping[str, int]) -> str:
    """The resource that a message names somewhere; empty: none."""
    return next((logical for logical in lines if logical and f"[{logical}]" in message), "")


class _Clerk:
    """The process. It is asked once, and is gone with its answer."""

    def __init__(self) -> None:
        # nothing of what it says about itself is for the reader
        self._process = subprocess.Popen(
            [sys.executable, "-m", translator.__name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONWARNINGS": "ignore"},
        )  # fmt: skip
        self._asking: threading.Thread | None = None
        self._said: tuple[str, str] = ("", "")

    def ask(self, case: Case) -> None:
        question = json.dumps({"template": case.template, "region": case.region})
        # a pipe takes only so much while the other side is not reading yet
        self._asking = threading.Thread(target=self._ask, args=(question,), name="judging", daemon=True)
        self._asking.start()

    def _ask(self, question: str) -> None:
        try:
            self._said = self._process.communicate(question, timeout=PATIENCE.total_seconds())
        except (OSError, ValueError, subprocess.TimeoutExpired):
            self._process.kill()

    def answer(self) -> list[Cause]:
        """Raises JudgeFailed."""
        assert self._asking is not None, "asked before"
        self._asking.join()
        out, err = self._said
        try:
            return [Cause(**one) for one in json.loads(out)["causes"]]
        except (ValueError, KeyError, TypeError) as error:
            said = next((line for line in reversed(err.splitlines()) if line.strip()), "it said nothing")
            raise JudgeFailed(
                f"aws-sam-translator could not judge the template: {said}",
                "Nothing was changed. Is it installed whole? pip install --force-reinstall aws-sam-translator.",
            ) from error

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        if self._asking:
            self._asking.join()
        else:
            self._process.communicate()
