"""Tell what has become of each event source mapping, and finish the deletion of those that are to go.

The API says what is wanted; the processes that poll say what is true. One of them, the owner of the claim
``esm-state:UUID``, writes ``{"revision", "state", "reason"}``: the revision of the mapping that its poller follows.
Deleting takes the mapping's claims and positions away first, which stops whoever still works on it, then the mapping.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from fnrunner.catalogue import Catalogue, positions, triggers
from fnrunner.catalogue.errors import NotFound
from sources.errors import ClaimLost
from sources.mapping import EventSourceMapping
from sources.source import Claim, Claims

log = logging.getLogger(__name__)


class MappingStates:
    """``tell`` is called often, with every mapping as its poller follows it, and why some of them do not work."""

    def __init__(self, catalogue: Catalogue, claims: Claims) -> None:
        self._catalogue = catalogue
        self._claims = claims
        self._held: dict[str, Claim] = {}
        self._told: dict[str, Mapping[str, Any]] = {}

    async def tell(self, mappings: Mapping[str, EventSourceMapping], refused: Mapping[str, str]) -> None:
        """Raises CheckpointsUnavailable, StoreError: call again."""
        for uuid in set(self._held) - set(mappings):
            await self._let_go(uuid)
        for uuid, mapping in mappings.items():
            if (claim := await self._claim(uuid)) is None:
                continue
            if mapping.deleting:
                await self._delete(uuid)
                continue
            document = _document(mapping, refused.get(uuid, ""))
            if self._told.get(uuid) != document:
                await self._write(uuid, claim, document)

    async def close(self) -> None:
        """Idempotent."""
        for uuid in tuple(self._held):
            await self._let_go(uuid)

    async def _claim(self, uuid: str) -> Claim | None:
        claim = self._held.get(uuid)
        if claim is not None and claim.held:
            return claim
        self._held.pop(uuid, None)
        self._told.pop(uuid, None)
        if (claim := await self._claims.acquire(positions.state_name(uuid))) is not None:
            self._held[uuid] = claim
        return claim

    async def _write(self, uuid: str, claim: Claim, document: Mapping[str, Any]) -> None:
        try:
            await claim.save(document)
        except ClaimLost:
            self._held.pop(uuid, None)
        else:
            self._told[uuid] = document

    async def _delete(self, uuid: str) -> None:
        await self._forget_positions(uuid)
        try:
            await self._catalogue.change(lambda connection: triggers.remove(connection, EventSourceMapping, uuid))
        except NotFound:
            log.info("event source mapping %s has been removed by somebody else", uuid)
        # once more: who did not know yet that it is over may have taken a claim meanwhile
        await self._forget_positions(uuid)
        await self._let_go(uuid)
        await self._claims.forget(positions.state_name(uuid))

    async def _forget_positions(self, uuid: str) -> None:
        for prefix in (positions.shard_prefix(uuid), positions.rewind_name(uuid)):
            await self._claims.forget(prefix)

    async def _let_go(self, uuid: str) -> None:
        self._told.pop(uuid, None)
        if (claim := self._held.pop(uuid, None)) is not None:
            await claim.release()


def _document(mapping: EventSourceMapping, refused: str) -> dict[str, Any]:
    working = mapping.enabled and not refused
    return {"revision": mapping.revision, "state": "Enabled" if working else "Disabled", "reason": refused}
