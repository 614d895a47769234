"""Faults of what is to be deployed: collected, so that all are shown at once, before anything changes."""

from __future__ import annotations

from dataclasses import dataclass, field

from fnrunner.cli.error import UsageFault


class Line(int):
    """A line's number that knows the column too; both count from 1, and a column of 0 is none.

    >>> Line.at(4, 7), Line.at(4, 7).column
    (4, 7)
    """

    column: int = 0

    @classmethod
    def at(cls, line: int, column: int) -> Line:
        made = cls(line)
        made.column = column
        return made


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """``where`` is a path in the template, such as ``Resources.Thumb.Properties.VpcConfig``; ``line`` counts from 1, and
    may be a :class:`Line`."""

    line: int
    where: str
    what: str

    def show(self, file: str) -> str:
        """``template.yaml:23:7: Resources.Thumb.Properties.VpcConfig is not supported``"""
        column = self.line.column if isinstance(self.line, Line) else 0
        place = f"{file}:{self.line}:{column}" if column else f"{file}:{self.line}"
        return f"{place}: {self.where} {self.what}".replace("  ", " ")


@dataclass(slots=True)
class Faults:
    """What has been found so far in one file."""

    file: str
    found: list[Fault] = field(default_factory=list)

    def add(self, line: int, where: str, what: str) -> None:
        self.found.append(Fault(line, where, what))

    def check(self) -> None:
        """Raises TemplateFault when there are any."""
        if self.found:
            raise TemplateFault([fault.show(self.file) for fault in sorted(set(self.found))])


class TemplateFault(UsageFault):
    """The template cannot be deployed as it is. ``lines`` has one line a fault."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        super().__init__(
            "\n".join(lines), "Nothing was changed. Remove or correct these; `fnrunner deploy --help` names what works."
        )
