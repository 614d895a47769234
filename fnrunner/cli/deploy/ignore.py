"""What does not belong into a package: what tools leave behind, and what ``.fnrunnerignore`` names. Pure.

The file has gitignore's forms: a pattern a line, ``#`` comments, ``!`` takes back, a leading or inner ``/`` anchors to
the folder, a trailing ``/`` means folders only, ``*`` stops at ``/`` and ``**`` does not.

>>> rules = Rules.read("*.md\\n!README.md\\n/build/\\n")
>>> rules.leaves_out("a/notes.md"), rules.leaves_out("README.md")
(True, False)
>>> rules.leaves_out("build", is_folder=True), rules.leaves_out("src/build", is_folder=True)
(True, False)
"""

from __future__ import annotations

import re
from dataclasses import dataclass

FILE = ".fnrunnerignore"
ALWAYS = (
    "__pycache__/", "*.pyc", ".git/", ".hg/", ".venv/", "venv/", ".fnrunner/", ".mypy_cache/", ".pytest_cache/",
    ".ruff_cache/", ".DS_Store", FILE,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Rule:
    pattern: re.Pattern[str]
    folders_only: bool
    takes_back: bool


@dataclass(frozen=True, slots=True)
class Rules:
    """Later rules win over earlier ones, as in git."""

    rules: tuple[_Rule, ...]

    @classmethod
    def read(cls, text: str) -> Rules:
        """The rules of an ignore file, after those that always hold."""
        lines = [*ALWAYS, *(line.rstrip() for line in text.splitlines())]
        return cls(tuple(_rule(line) for line in lines if line and not line.startswith("#")))

    def leaves_out(self, path: str, is_folder: bool = False) -> bool:
        """Whether a path (with ``/``, relative to the folder) is named. What is in a named folder is left out with it."""
        named = False
        for rule in self.rules:
            if (is_folder or not rule.folders_only) and rule.pattern.fullmatch(path):
                named = not rule.takes_back
        return named


def _rule(line: str) -> _Rule:
    takes_back = line.startswith("!")
    body = line.removeprefix("!")
    folders_only = body.endswith("/")
    body = body.rstrip("/")
    anchored = "/" in body
    expression = _expression(body.lstrip("/"))
    return _Rule(re.compile(expression if anchored else f"(?:.*/)?{expression}", re.DOTALL), folders_only, takes_back)


def _expression(glob: str) -> str:
    pieces = []
    for piece in re.split(r"(\*\*/|/\*\*|\*\*|\*|\?|\[[^\]]+\])", glob):
        match piece:
            case "**/":
                pieces.append("(?:.*/)?")
            case "/**":
                pieces.append("/.*")
            case "**":
                pieces.append(".*")
            case "*":
                pieces.append("[^/]*")
            case "?":
                pieces.append("[^/]")
            case _ if piece.startswith("[") and piece.endswith("]"):
                pieces.append(
                    "[" + piece[1:-1].replace("\\", "\\\\").replace("!", "^", 1 if piece[1] == "!" else 0) + "]"
                )
            case _:
                pieces.append(re.escape(piece))
    return "".join(pieces)


INSTALLED = Rules((_rule("__pycache__/"), _rule("*.pyc")))
"""What a folder that pip filled has beside the packages."""
