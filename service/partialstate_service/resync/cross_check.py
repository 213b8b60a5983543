"""Compares the state that one server tells with what others tell: a list of ids cannot be proven complete."""

import asyncio
from collections import Counter
from dataclasses import replace
from hashlib import sha256
from itertools import groupby

from partialstate_service.domain.ids import EventId, ServerName
from partialstate_service.federation.outcomes import FederationError
from partialstate_service.federation.protocol import StateIds
from partialstate_service.resync.fetcher import Fetcher
from partialstate_service.resync.snapshot import Snapshot, SnapshotRefusedError
from partialstate_service.resync.sources import Sources
from partialstate_service.resync.state_verification import StateVerification

_SECOND_OPINIONS = 3
"""How many servers are asked in vain for a cross-check, and for the majority after a difference."""
_HASHED_AT_ONCE = 10_000


class CrossCheck:
    """Cross-checks the states of one room."""

    def __init__(self, fetcher: Fetcher, sources: Sources, states: StateVerification) -> None:
        self._fetcher = fetcher
        self._sources = sources
        self._states = states

    async def checked(self, snapshot: Snapshot, ids: StateIds, server: ServerName) -> Snapshot:
        """Return *snapshot*, which *ids* of *server* describe, or what others tell, if that counts.

        On a difference up to three more are asked and the majority counts; without one, the server that we joined
        through does, which has told us all else that we know of the room.
        """
        opinions = {server: await asyncio.to_thread(_fingerprint, ids)}
        lists = {opinions[server]: ids}
        await self._ask_opinions(opinions, lists, snapshot.after, wanted=1)
        if len(lists) == 1:
            return snapshot
        await self._ask_opinions(opinions, lists, snapshot.after, wanted=_SECOND_OPINIONS)
        votes = Counter(opinions.values())
        winner, count = votes.most_common(1)[0]
        others = len(opinions) - votes[opinions[server]]
        note = f"{others} of {len(opinions)} servers tell another state after {snapshot.after!a:.100} than {server}"
        if count * 2 <= len(opinions):
            winner = opinions.get(self._sources.joined_via or server, opinions[server])
        if winner == opinions[server]:
            return replace(snapshot, note=note)
        chosen = next(name for name, opinion in opinions.items() if opinion == winner)
        try:
            better = await self._states.snapshot(chosen, lists[winner], snapshot.after)
        except (FederationError, SnapshotRefusedError) as refusal:
            return replace(snapshot, note=f"{note}; theirs cannot be verified: {refusal}")
        return replace(better, note=f"{note}; what {chosen} tells counts")

    async def _ask_opinions(
        self,
        opinions: dict[ServerName, bytes],
        lists: dict[bytes, StateIds],
        after: EventId,
        wanted: int,
    ) -> None:
        """Ask until *wanted* more servers have told the state after *after*, or enough have not.

        *opinions* and *lists* get the fingerprint of what each told, and what each fingerprint stands for.
        """
        failures = 0
        while wanted and failures < _SECOND_OPINIONS:
            candidates = self._sources.available(without=opinions.keys(), at_most=1)
            if not candidates:
                return
            try:
                ids = await self._fetcher.state_ids(candidates[0], after)
            except FederationError as error:
                failures += 1
                self._sources.failed(error)
                continue
            self._sources.succeeded(candidates[0])
            opinions[candidates[0]] = fingerprint = await asyncio.to_thread(_fingerprint, ids)
            lists.setdefault(fingerprint, ids)
            wanted -= 1


def _fingerprint(ids: StateIds) -> bytes:
    """Return a hash of the ids of the state, whatever their order, and however often each is told."""
    fingerprint = sha256()
    told = [event_id for event_id, _ in groupby(sorted(ids.pdu_ids))]
    for start in range(0, len(told), _HASHED_AT_ONCE):
        fingerprint.update("\n".join([*told[start : start + _HASHED_AT_ONCE], ""]).encode())
    return fingerprint.digest()
