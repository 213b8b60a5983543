"""Compares the state that one server tells with what others tell: a list of ids cannot be proven complete."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from itertools import groupby

from partialstate_service.domain.ids import EventId, ServerName
from partialstate_service.federation.outcomes import FederationError, Outcome
from partialstate_service.federation.protocol import StateIds
from partialstate_service.resync.fetcher import Fetcher
from partialstate_service.resync.recovery_errors import (
    EvidenceAwaitedError,
    KeysNeededError,
    LoneCopiesError,
    OutvotedError,
)
from partialstate_service.resync.snapshot import ImpossibleStateError, Snapshot, SnapshotRefusedError
from partialstate_service.resync.sources import Sources
from partialstate_service.resync.state_verification import StateVerification

_SECOND_OPINIONS = 3
"""How many servers are asked in vain for a cross-check, and for the majority after a difference."""
_HASHED_AT_ONCE = 10_000


class CrossCheck:
    """Cross-checks the states of one room."""

    def __init__(
        self,
        fetcher: Fetcher,
        sources: Sources,
        states: StateVerification,
        waits_for_majority: Callable[[], bool],
    ) -> None:
        self._fetcher = fetcher
        self._sources = sources
        self._states = states
        self._waits_for_majority = waits_for_majority

    async def checked(self, snapshot: Snapshot, ids: StateIds, server: ServerName) -> Snapshot:
        """Return *snapshot*, which *ids* of *server* describe, or what others tell, if that counts.

        On a difference up to three more are asked and the majority counts; without one, the server that we joined
        through does, which has told us all else that we know of the room. Raises `OutvotedError` where
        what the majority tells cannot be verified now: who was outvoted does not win by that, for a long time.
        """
        opinions = {server: await asyncio.to_thread(_fingerprint, ids)}
        lists = {server: ids}
        await self._ask_opinions(opinions, lists, snapshot.after, wanted=1)
        if len(set(opinions.values())) == 1:
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
        majority = [name for name, opinion in opinions.items() if opinion == winner]
        try:
            return await self._told_by_majority(majority, lists, snapshot.after, note)
        except OutvotedError as error:
            if not isinstance(error.__cause__, ImpossibleStateError) and self._waits_for_majority():
                raise
            return replace(snapshot, note=str(error))

    async def _told_by_majority(
        self,
        majority: Sequence[ServerName],
        lists: Mapping[ServerName, StateIds],
        after: EventId,
        note: str,
    ) -> Snapshot:
        """Return the state after *after* by the first of *majority* whose own list of its auth chain can be verified."""
        refusal: Exception | None = None
        for server in majority:
            try:
                better = await self._states.snapshot(server, lists[server], after)
            except ImpossibleStateError as error:
                refusal = error
                break
            except (EvidenceAwaitedError, KeysNeededError, LoneCopiesError) as error:
                refusal = error
            except SnapshotRefusedError as error:
                refusal = FederationError(Outcome.INVALID, server, text=str(error))
                self._sources.failed(refusal)
            except FederationError as error:
                refusal = error
                self._sources.failed(error)
            else:
                return replace(better, note=f"{note}; what {server} tells counts")
        awaits_evidence = isinstance(refusal, EvidenceAwaitedError | KeysNeededError)
        text = f"{note}; theirs cannot be verified: {refusal}"
        raise OutvotedError(text, awaits_evidence=awaits_evidence) from refusal

    async def _ask_opinions(
        self,
        opinions: dict[ServerName, bytes],
        lists: dict[ServerName, StateIds],
        after: EventId,
        wanted: int,
    ) -> None:
        """Ask until *wanted* more servers have told the state after *after*, or enough have not.

        *opinions* and *lists* get the fingerprint of what each told, and what it told.
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
            opinions[candidates[0]] = await asyncio.to_thread(_fingerprint, ids)
            lists[candidates[0]] = ids
            wanted -= 1


def _fingerprint(ids: StateIds) -> bytes:
    """Return a hash of the ids of the state, whatever their order, and however often each is told."""
    fingerprint = sha256()
    told = [event_id for event_id, _ in groupby(sorted(ids.pdu_ids))]
    for start in range(0, len(told), _HASHED_AT_ONCE):
        fingerprint.update("\n".join([*told[start : start + _HASHED_AT_ONCE], ""]).encode())
    return fingerprint.digest()
