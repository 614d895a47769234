"""Whether there is, or was, a function of a name: what is asked about one that nobody has heard of is a slip of the pen.

A function that was deleted is known as long as its history is kept.
"""

from __future__ import annotations

from difflib import get_close_matches

from sqlalchemy import Connection, exists, select

from fnrunner.api.admin.endpoint import Ask
from fnrunner.api.errors import ResourceNotFound
from fnrunner.store.schema import accepted, attempt, dead_letter, settled_total

SHOWN = 5
_BOOKS = (settled_total, dead_letter, attempt, accepted)


class UnknownFunction(ResourceNotFound):
    """No function has this name, and nothing is recorded of one."""

    def __init__(self, name: str, there: list[str]) -> None:
        near = get_close_matches(name, there, 1)
        shown = ", ".join(there[:SHOWN]) + (f" and {len(there) - SHOWN} more" if len(there) > SHOWN else "")
        super().__init__(
            f"There is no function {name}, and nothing is recorded of one. "
            + (f"Did you mean {near[0]}? " if near else "")
            + (f"There are: {shown}" if there else "There are no functions yet.")
        )
        self.remedy = "`fnrunner functions ls` lists the functions there are; names are case-sensitive."


async def check(ask: Ask, name: str) -> None:
    """Raises UnknownFunction for a name that neither the catalogue nor the books have."""
    catalogue = ask.services.catalogue
    if name in _names(ask):
        return
    await catalogue.refresh()  # it may have been made by another process just now
    if name in _names(ask) or await ask.services.store.read(lambda connection: _recorded(connection, name)):
        return
    raise UnknownFunction(name, sorted(_names(ask)))


def _names(ask: Ask) -> set[str]:
    return {name for name, _ in ask.services.catalogue.snapshot.functions}


def _recorded(connection: Connection, name: str) -> bool:
    return any(connection.execute(select(exists().where(book.c.function == name))).scalar_one() for book in _BOOKS)
