"""Who is to work on what: an even spread over processes that all of them compute alike. Pure.

Rendezvous hashing says which process each name would like; none gets more than its share, rounded up. So few names are
spread evenly too, and most of them stay where they are when a process comes or goes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from hashlib import blake2b


def assignment(names: Collection[str], members: Collection[str]) -> Mapping[str, str]:
    """The member for each of the names; nothing without members.

    >>> sorted(assignment(["a", "b", "c", "d"], ["one", "two"]).values())
    ['one', 'one', 'two', 'two']
    """
    if len(members) <= 1:
        return {name: member for member in members for name in names}
    share = -(-len(names) // len(members))
    taken = dict.fromkeys(members, 0)
    found = {}
    for name in sorted(names, key=lambda name: (_weight(name, ""), name)):
        liked = sorted(members, key=lambda member: (_weight(name, member), member), reverse=True)
        found[name] = next(member for member in liked if taken[member] < share)
        taken[found[name]] += 1
    return found


def _weight(name: str, member: str) -> bytes:
    return blake2b(f"{member}\0{name}".encode(errors="surrogatepass"), digest_size=8).digest()
