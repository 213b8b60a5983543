"""Compares the state that one server tells with what others tell: a list of ids cannot be proven complete."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from itertools import groupby

from partialstate_service.domain.ids import EventId, ServerName
from partialstate_service.domain.rooms import ServerRecord
from partialstate_service.federation.outcomes import FederationError, Outcome
from partialstate_service.federation.protocol import StateIds
from partialstate_service.resync.fetcher import Fetcher
from partialstate_service.resync.recovery_errors import (
    EvidenceAwaitedError,
    KeysNeededError,
    LoneCopiesError,
    OutvotedError,
)
from partialstate_service.resync.snapshot import (
    ImpossibleStateError,
    Snapshot,
    SnapshotRefusedError,
    UnansweredError,
)
from partialstate_service.resync.sources import Sources
from partialstate_service.resync.state_verification import StateVerification

_SECOND_OPINIONS = 3
"""How many servers are asked in vain for a cross-check, and for the majority after a difference."""
_QUORUM = 3
"""How many must tell the same for it to count in place of what has counted before."""
_HASHED_AT_ONCE = 10_000


class CrossCheck:
    """Cross-checks the states of one room during one attempt.

    *patience_s*: for how long who was outvoted is left alone while what counts cannot be verified. *on_failure* is told
    of servers that fail to tell the state after an event; one that only lacks the event may tell others.
    """

    def __init__(
        self,
        fetcher: Fetcher,
        sources: Sources,
        states: StateVerification,
        *,
        patience_s: float,
        on_failure: Callable[[FederationError, EventId], None],
    ) -> None:
        self._fetcher = fetcher
        self._sources = sources
        self._states = states
        self._patience_s = patience_s
        self._on_failure = on_failure
        # Later answers replace the records of votes; who is in one of these and is asked again was left alone for long.
        self._earlier = sources.records()

    async def checked(self, snapshot: Snapshot, ids: StateIds, server: ServerName) -> Snapshot:
        """Return *snapshot*, which *ids* of *server* describe, or what others tell, if that counts.

        On a difference up to three more are asked and the majority counts; without one, the server that we joined
        through does, which has told us all else that we know of the room. Raises `OutvotedError` where what counts
        cannot be verified now. Those who told otherwise are then left alone, and what counted goes on doing so,
        also while nobody can be asked who told it.
        """
        after = snapshot.after
        opinions = {server: await asyncio.to_thread(_fingerprint, ids)}
        lists = {server: ids}
        failed = set[ServerName]()
        await self._ask_opinions(opinions, lists, failed, after, wanted=1)
        votes = self._earlier_votes(after)
        counted = next(iter(votes.values()), None)
        if len({*opinions.values()}) == 1 and counted in {None, opinions[server]}:
            outvoted = ", ".join([name for name, winner in votes.items() if winner == counted])
            note = f"{outvoted} told another state after {after!a:.100} than counts" if outvoted else ""
            return replace(snapshot, note=note)
        await self._ask_opinions(opinions, lists, failed, after, wanted=_SECOND_OPINIONS)
        winner = self._winner(opinions, server, counted)
        tellers = [name for name, opinion in opinions.items() if opinion == winner]
        others = sum(opinion != opinions[server] for opinion in opinions.values())
        note = f"{others} of {len(opinions)} servers tell another state after {after!a:.100} than {server}"
        if server in tellers:
            return replace(snapshot, note=note)
        if not tellers:
            note = f"another state after {after!a:.100} than {server} tells has counted before"
        try:
            return await self._told_by_one_of(tellers, lists, after, note)
        except OutvotedError as error:
            if not error.is_refuted and not self._was_left_alone(server, after):
                self._leave_alone(opinions.keys() - set(tellers), after, winner)
                raise
            return replace(snapshot, note=str(error))

    def _winner(
        self, opinions: Mapping[ServerName, bytes], server: ServerName, counted: bytes | None
    ) -> bytes:
        """Return which of *opinions* counts beside that of *server*, or *counted*, if that still does."""
        winner, count = Counter(opinions.values()).most_common(1)[0]
        if count * 2 > len(opinions) and (counted is None or count >= _QUORUM):
            return winner
        if counted is not None:
            return counted
        return opinions.get(self._sources.joined_via or server, opinions[server])

    async def _told_by_one_of(
        self,
        tellers: Sequence[ServerName],
        lists: Mapping[ServerName, StateIds],
        after: EventId,
        note: str,
    ) -> Snapshot:
        """Return the state after *after* by the first of *tellers* whose own list of its auth chain can be verified."""
        refusal: Exception | None = None
        awaits_evidence = False
        is_refuted = bool(tellers)
        for server in tellers:
            try:
                better = await self._states.snapshot(server, lists[server], after)
            except ImpossibleStateError as error:
                refusal = error
                is_refuted, awaits_evidence = True, False
                break
            except (EvidenceAwaitedError, KeysNeededError, LoneCopiesError) as error:
                refusal = error
                is_refuted, awaits_evidence = False, True
            except SnapshotRefusedError as error:
                is_refuted = is_refuted and not isinstance(error, UnansweredError)
                refusal = FederationError(Outcome.INVALID, server, text=str(error))
                self._sources.failed(refusal)
            except FederationError as error:
                refusal = error
                is_refuted = False
                self._sources.failed(error)
            else:
                return replace(better, note=f"{note}; what {server} tells counts")
        text = f"{note}; theirs cannot be verified: {refusal or 'nobody who told it answers'}"
        raise OutvotedError(text, awaits_evidence=awaits_evidence, is_refuted=is_refuted) from refusal

    def _leave_alone(self, outvoted: Iterable[ServerName], after: EventId, winner: bytes) -> None:
        """Record what counts and who told otherwise; the records outlive the attempt."""
        for server in outvoted:
            text = _vote_on(after) + winner.hex()
            self._sources.failed(FederationError(Outcome.INVALID, server, self._patience_s, text))

    def _earlier_votes(self, after: EventId) -> Mapping[ServerName, bytes]:
        """Return who was outvoted on the state after *after*, the latest first, with the fingerprint of what counted."""
        return {
            record.server: bytes.fromhex(record.detail.removeprefix(_vote_on(after)))
            for record in (*self._sources.records(), *self._earlier)
            if _is_outvoted(record, after)
        }

    def _was_left_alone(self, server: ServerName, after: EventId) -> bool:
        """Whether *server*, which was asked again, was left alone for the whole patience: no retry has cut it short."""
        return any(
            record.server == server and record.cooldown_until_ms is not None and _is_outvoted(record, after)
            for record in self._earlier
        )

    async def _ask_opinions(
        self,
        opinions: dict[ServerName, bytes],
        lists: dict[ServerName, StateIds],
        failed: set[ServerName],
        after: EventId,
        wanted: int,
    ) -> None:
        """Ask until *wanted* more servers have told the state after *after*, or enough have not.

        *opinions* and *lists* get the fingerprint of what each told, and what it told; *failed*, who did not.
        """
        failures = 0
        while wanted and failures < _SECOND_OPINIONS:
            candidates = self._sources.available(without=opinions.keys() | failed, at_most=1)
            if not candidates:
                return
            try:
                ids = await self._fetcher.state_ids(candidates[0], after)
            except FederationError as error:
                failures += 1
                failed.add(candidates[0])
                self._on_failure(error, after)
                continue
            self._sources.succeeded(candidates[0])
            opinions[candidates[0]] = await asyncio.to_thread(_fingerprint, ids)
            lists[candidates[0]] = ids
            wanted -= 1


def _vote_on(after: EventId) -> str:
    """Return how the records of those begin who were outvoted on the state after *after*, whose id may be long."""
    return f"outvoted on the state after {sha256(after.encode()).hexdigest()[:32]}, where this counts: "


def _is_outvoted(record: ServerRecord, after: EventId) -> bool:
    # What a peer says never begins like that: its words follow the status that it answered with.
    return record.outcome == Outcome.INVALID and record.detail.startswith(_vote_on(after))


def _fingerprint(ids: StateIds) -> bytes:
    """Return a hash of the ids of the state, whatever their order, and however often each is told."""
    fingerprint = sha256()
    told = [event_id for event_id, _ in groupby(sorted(ids.pdu_ids))]
    for start in range(0, len(told), _HASHED_AT_ONCE):
        fingerprint.update("\n".join([*told[start : start + _HASHED_AT_ONCE], ""]).encode())
    return fingerprint.digest()
