"""Turns what a server says of a state into a verified snapshot, or refuses it.

What cannot be verified and what fails auth is left out only where that lets nobody in: `RECOVERY.md`.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from collections.abc import Set as AbstractSet

from partialstate_service.domain.ids import EventId, ServerName
from partialstate_service.federation.protocol import StateIds
from partialstate_service.resync.authorisation import AuthClosure, auth_closure, rejected_by_auth_events
from partialstate_service.resync.event_ids import EventIds
from partialstate_service.resync.fetcher import Fetcher
from partialstate_service.resync.held import HeldEvents
from partialstate_service.resync.recovery_errors import (
    EvidenceAwaitedError,
    KeysNeededError,
    LoneCopiesError,
)
from partialstate_service.resync.recovery_policy import RecoveryPolicy
from partialstate_service.resync.snapshot import (
    Snapshot,
    SnapshotRefusedError,
    UnansweredError,
    build_state,
    state_after,
)

_CLOSURE_ROUNDS = 50
"""How often missing auth events may turn up further missing ones."""


class StateVerification:
    """Verifies the states that servers of one room tell."""

    def __init__(
        self,
        *,
        fetcher: Fetcher,
        held: HeldEvents,
        create_id: EventId,
        policy: RecoveryPolicy,
        patience_is_over: Callable[[], bool],
        on_expected: Callable[[int], object],
    ) -> None:
        self._fetcher = fetcher
        self._held = held
        self._create_id = create_id
        self._policy = policy
        self._patience_is_over = patience_is_over
        self._on_expected = on_expected

    async def snapshot(
        self, server: ServerName, ids: StateIds, after: EventId, *, trusts_lone_copies: bool = False
    ) -> Snapshot:
        """Return the snapshot that *ids* of *server* describe.

        Raises `SnapshotRefusedError`; `FederationError` of *server*; `EvidenceAwaitedError` while keys may still turn up;
        `LoneCopiesError`, unless *trusts_lone_copies*, where *server* is alone with events in a form that does not verify.
        """
        if not ids.pdu_ids:
            raise SnapshotRefusedError("the state is empty")
        named = len({*ids.pdu_ids, *ids.auth_chain_ids, after})
        self._on_expected(named)
        missing = await self._fetcher.fetch_missing(server, ids, after)
        needed = {*ids.pdu_ids, after}
        if lone := self._fetcher.doubtful.lone():
            if not trusts_lone_copies:
                text = f"{len(lone)} events that cannot be verified, such as {min(lone)!a:.100}, came from one server alone"
                raise LoneCopiesError(text)
            await self._fetcher.settle_altered(lone)
        unverifiable = self._unverifiable(needed)
        if gone := missing & needed:
            refused = SnapshotRefusedError if gone <= self._fetcher.unknown else UnansweredError
            raise refused(f"{len(gone)} events of the state cannot be had, such as {min(gone)!a:.100}")
        wanted = needed - unverifiable if unverifiable else needed
        closure, unknown = await self._complete_auth_chains(wanted, named=named)
        self._require_omissible(unverifiable, closure.missing, unknown)
        # A matter of seconds in a large room, which the event loop has not got.
        return await asyncio.to_thread(self._judged, ids.pdu_ids, after, closure.held, unverifiable)

    def _judged(
        self,
        pdu_ids: Sequence[EventId],
        after: EventId,
        closure: EventIds,
        unverifiable: frozenset[EventId],
    ) -> Snapshot:
        """Return the snapshot of a state before *after*, all of which is held, or raise `SnapshotRefusedError`."""
        events = self._held.events
        rejections = rejected_by_auth_events(closure, events, self._held.allowed)
        state = build_state(pdu_ids, events, rejections, unverifiable, self._create_id)
        rejected = set(rejections)
        if after in unverifiable:
            left_out = self._fetcher.doubtful.event(after)
            # Which membership holds is unknown, so none does: it could be a leave, and a join the one before it.
            if left_out.state_key is not None:
                state = state.with_changes({(left_out.type, left_out.state_key): None})
        else:
            state, refused = state_after(events[after], state, events, rejections)
            if refused is not None:
                rejected.add(after)
        return Snapshot(
            after=after,
            state=state,
            closure=closure,
            rejected=frozenset(rejected),
            left_out=frozenset(rejections.keys() & set(pdu_ids)) if rejections else frozenset(),
            unverified=unverifiable,
        )

    def _unverifiable(self, needed: Iterable[EventId]) -> frozenset[EventId]:
        """Return those of *needed* that cannot be verified, unless waiting may still help."""
        found = self._fetcher.doubtful
        if not found.key_unknown and not found.badly_signed:
            return frozenset()
        unknown = {i for i in needed if i in found.key_unknown}
        if unknown and not (self._patience_is_over() and self._policy.omit_unverifiable):
            raise EvidenceAwaitedError(
                f"signing keys for {len(unknown)} events of the state are not to be had yet"
            )
        return frozenset(unknown.union(i for i in needed if i in found.badly_signed))

    def _require_omissible(
        self, unverifiable: frozenset[EventId], missing: frozenset[EventId], unknown: AbstractSet[EventId]
    ) -> None:
        """Raise unless every unverifiable event is a membership other than a ban: its absence lets nobody in.

        Nor may anything of the auth chains be *missing*, of which *unknown* are events that nobody knows.
        """
        keyless = self._fetcher.doubtful.key_unknown
        needs: type[SnapshotRefusedError]
        if missing:
            if missing <= keyless.keys():
                needs = KeysNeededError
            elif missing <= unknown | self._fetcher.doubtful.ids():
                needs = SnapshotRefusedError
            else:
                needs = UnansweredError
            raise needs(
                f"{len(missing)} events of the auth chain cannot be had or verified, such as {min(missing)!a:.100}"
            )
        for event in map(self._fetcher.doubtful.event, unverifiable):
            needs = KeysNeededError if event.event_id in keyless else SnapshotRefusedError
            if event.type != "m.room.member" or event.content.get("membership") == "ban":
                raise needs(f"{event.event_id!a:.100} of type {event.type!a:.64} cannot be verified")

    async def _complete_auth_chains(
        self, wanted: Collection[EventId], *, named: int
    ) -> tuple[AuthClosure, AbstractSet[EventId]]:
        """Fetch what the auth closure lacks: some servers send the auth chain of something else.

        Returns it, and which events nobody knows who was asked for them. Raises `SnapshotRefusedError` where the closure is
        much larger than the *named* events.
        """
        events = self._held.events
        closure = await asyncio.to_thread(auth_closure, wanted, events)
        unknown: AbstractSet[EventId] = frozenset()
        for _ in range(_CLOSURE_ROUNDS):
            if not closure.missing:
                break
            unnamed = len(closure.held) + len(closure.missing) - named
            if unnamed > self._policy.max_unnamed_events:
                raise SnapshotRefusedError(
                    f"its auth chain needs {unnamed} events that its list does not name"
                )
            before = len(events)
            unknown = await self._fetcher.fetch_events(closure.missing)
            if len(events) == before:
                break
            closure = await asyncio.to_thread(auth_closure, wanted, events)
        return closure, unknown
