"""Recovers the state after one event: asks servers in turn until one's answer holds, and cross-checks it.

A snapshot is refused unless every id and its auth closure is held and verified. Rules for what cannot be verified or
fails auth: `RECOVERY.md`.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

from partialstate_service.domain.ids import EventId, ServerName
from partialstate_service.federation.outcomes import FederationError, Outcome
from partialstate_service.federation.protocol import StateIds
from partialstate_service.matrix.event import Event
from partialstate_service.matrix.shared_state import SharedState
from partialstate_service.resync.authorisation import AuthClosure, auth_closure, rejected_by_auth_events
from partialstate_service.resync.event_ids import EventIds
from partialstate_service.resync.fetcher import Fetcher
from partialstate_service.resync.held import HeldEvents
from partialstate_service.resync.snapshot import (
    Snapshot,
    SnapshotRefusedError,
    build_state,
    state_after,
)
from partialstate_service.resync.sources import Sources

_CLOSURE_ROUNDS = 50
"""How often missing auth events may turn up further missing ones."""
_SECOND_OPINIONS = 3
"""How many servers are asked in vain for a cross-check, and for the majority after a difference."""


class NoServerLeftError(Exception):
    """Every candidate server is cooling down; the text says what failed last.

    `is_unknown`: some were asked for the state after an event, and all of them said that they know no such event.
    """

    def __init__(self, text: str, *, is_unknown: bool = False) -> None:
        super().__init__(text)
        self.is_unknown = is_unknown


class KeysNeededError(SnapshotRefusedError):
    """A state cannot do without events whose signing keys nobody has."""


class KeysAwaitedError(Exception):
    """Signing keys are missing that may still turn up; the text says of how many servers."""


@dataclass(frozen=True, slots=True)
class RecoveryPolicy:
    """What an operator may decide."""

    cross_check: bool = True
    """Whether another server is asked for its `/state_ids`."""
    omit_unverifiable: bool = True
    """Whether memberships that no key verifies are left out in the end, so that the room completes."""
    key_patience_s: float = 120.0
    """For how long missing keys are waited for, from when nothing else was missing."""
    prev_patience_s: float = 24 * 3600.0
    """For how long after the registration a prev event is sought that no server knows: whoever may speak in a room may
    invent one. What names it is judged by its other prev events then, and the room completes."""
    other_opinions: int = 4
    """How many more servers are asked when a snapshot contains what it should not."""
    max_unnamed_events: int = 20_000
    """How many more events than its server's `/state_ids` named a snapshot may need, if some of them are not held: what
    auth events name in turn is for their authors to choose, and need not end."""


class Recovery:
    """Recovers snapshots of one room."""

    def __init__(
        self,
        *,
        fetcher: Fetcher,
        sources: Sources,
        held: HeldEvents,
        create_id: EventId,
        policy: RecoveryPolicy,
        waited_s: Callable[[], float],
        patience_is_over: Callable[[], bool],
        on_expected: Callable[[int], object],
    ) -> None:
        self._fetcher = fetcher
        self._sources = sources
        self._held = held
        self._create_id = create_id
        self._policy = policy
        self._waited_s = waited_s
        self._patience_is_over = patience_is_over
        self._on_expected = on_expected
        self._lacking: dict[ServerName, FederationError] = {}
        self._unknown_to: dict[EventId, set[ServerName]] = {}

    def leave_alone_who_lacked(self) -> None:
        """Let the servers that lacked an event since the last call cool down."""
        for error in self._lacking.values():
            self._sources.failed(error)
        self._lacking.clear()
        self._unknown_to.clear()

    def _note(self, error: FederationError, after: EventId) -> None:
        if error.outcome is Outcome.NOT_FOUND:
            self._unknown_to.setdefault(after, set()).add(error.server)
            # Perhaps nobody has the event because somebody invented it: the server may have all others.
            self._lacking[error.server] = error
        else:
            self._sources.failed(error)

    async def state_after_if_known(self, after: EventId, *, needed: bool) -> Snapshot:
        """As `state_after`; but unless it is *needed*, an empty state where it was sought in vain for long enough."""
        try:
            return await self.state_after(after)
        except NoServerLeftError as error:
            if needed or not error.is_unknown or self._waited_s() < self._policy.prev_patience_s:
                raise
            note = f"no server knows {after!a}: what names it is judged by its other prev events"
            nothing = frozenset[EventId]()
            return Snapshot(after, SharedState(), EventIds(self._held.events), nothing, note=note)

    async def state_after(self, after: EventId) -> Snapshot:
        """Return the verified state after *after*.

        Raises `NoServerLeftError` when every server has refused, failed or told what cannot be true, each asked once
        (twice after a time-out); it may be tried again when the first cooldown is over. Raises `KeysAwaitedError`
        while keys may still turn up. Who lacks *after* cools down from `leave_alone_who_lacked` on.
        """
        suspect: Snapshot | None = None
        asked: set[ServerName] = set()
        timed_out: set[ServerName] = set()
        keys_needed: KeysNeededError | None = None
        opinions = 0
        last_failure = "there is no server to ask"
        while candidates := self._sources.available(without=asked, at_most=1):
            server = candidates[0]
            try:
                ids = await self._fetcher.state_ids(server, after)
                snapshot = await self._verified(server, ids, after)
            except FederationError as error:
                last_failure = str(error)
                self._note(error, after)
                if error.outcome is Outcome.TIMEOUT and server not in timed_out:
                    timed_out.add(server)
                else:
                    asked.add(server)
                continue
            except KeysNeededError as refusal:
                # Not this server's fault; but another's state may do without.
                keys_needed = keys_needed or refusal
                asked.add(server)
                continue
            except SnapshotRefusedError as refusal:
                last_failure = f"{server}: {refusal}"
                self._sources.failed(FederationError(Outcome.INVALID, server, text=str(refusal)))
                asked.add(server)
                continue
            self._sources.succeeded(server)
            if not snapshot.left_out:
                return await self._cross_checked(snapshot, ids, server)
            # Homeservers do carry such state; but one that does not is preferred.
            suspect = suspect or snapshot
            asked.add(server)
            opinions += 1
            if opinions > self._policy.other_opinions:
                break
        if suspect is not None:
            return suspect
        if keys_needed is not None:
            raise KeysAwaitedError(str(keys_needed))
        raise NoServerLeftError(last_failure, is_unknown=bool(asked) and asked == self._unknown_to.get(after))

    async def _verified(self, server: ServerName, ids: StateIds, after: EventId) -> Snapshot:
        """Return the snapshot that *ids* of *server* describe, or raise `SnapshotRefusedError`."""
        if not ids.pdu_ids:
            raise SnapshotRefusedError("the state is empty")
        named = len({*ids.pdu_ids, *ids.auth_chain_ids, after})
        self._on_expected(named)
        missing = await self._fetcher.fetch_missing(server, ids, after)
        needed = {*ids.pdu_ids, after}
        unverifiable = self._unverifiable(needed)
        if gone := missing & needed:
            raise SnapshotRefusedError(
                f"{len(gone)} events of the state cannot be had, such as {min(gone)!a}"
            )
        wanted = needed - unverifiable.keys() if unverifiable else needed
        closure = await self._complete_auth_chains(wanted, named=named)
        self._require_omissible(unverifiable, closure.missing)
        # A matter of seconds in a large room, which the event loop has not got.
        return await asyncio.to_thread(self._judged, ids.pdu_ids, after, closure.held, unverifiable)

    def _judged(
        self,
        pdu_ids: Sequence[EventId],
        after: EventId,
        closure: EventIds,
        unverifiable: Mapping[EventId, Event],
    ) -> Snapshot:
        """Return the snapshot of a state before *after*, all of which is held, or raise `SnapshotRefusedError`."""
        events = self._held.events
        rejections = rejected_by_auth_events(closure, events)
        state = build_state(pdu_ids, events, rejections, unverifiable, self._create_id)
        rejected = set(rejections)
        if (left_out := unverifiable.get(after)) is not None:
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
            unverified=frozenset(unverifiable),
        )

    def _unverifiable(self, needed: Iterable[EventId]) -> dict[EventId, Event]:
        """Return those of *needed* that cannot be verified, unless waiting may still help."""
        found = self._fetcher.doubtful
        if not found.key_unknown and not found.badly_signed:
            return {}
        unknown = {i: found.key_unknown[i] for i in needed if i in found.key_unknown}
        if unknown and not (self._patience_is_over() and self._policy.omit_unverifiable):
            raise KeysAwaitedError(
                f"signing keys for {len(unknown)} events of the state are not to be had yet"
            )
        return unknown | {i: found.badly_signed[i] for i in needed if i in found.badly_signed}

    def _require_omissible(self, unverifiable: Mapping[EventId, Event], missing: frozenset[EventId]) -> None:
        """Raise unless every unverifiable event is a membership other than a ban: its absence lets nobody in."""
        keyless = self._fetcher.doubtful.key_unknown
        if missing:
            needs = KeysNeededError if missing <= keyless.keys() else SnapshotRefusedError
            raise needs(
                f"{len(missing)} events of the auth chain cannot be had or verified, such as {min(missing)!a}"
            )
        for event in unverifiable.values():
            needs = KeysNeededError if event.event_id in keyless else SnapshotRefusedError
            if event.type != "m.room.member" or event.content.get("membership") == "ban":
                raise needs(f"{event.event_id!a} of type {event.type!a:.64} cannot be verified")

    async def _complete_auth_chains(self, wanted: Collection[EventId], *, named: int) -> AuthClosure:
        """Fetch what the auth closure lacks: some servers send the auth chain of something else.

        Raises `SnapshotRefusedError` where the closure is much larger than the *named* events.
        """
        events = self._held.events
        closure = await asyncio.to_thread(auth_closure, wanted, events)
        for _ in range(_CLOSURE_ROUNDS):
            if not closure.missing:
                break
            unnamed = len(closure.held) + len(closure.missing) - named
            if unnamed > self._policy.max_unnamed_events:
                raise SnapshotRefusedError(
                    f"its auth chain needs {unnamed} events that its list does not name"
                )
            before = len(events)
            await self._fetcher.fetch_events(closure.missing)
            if len(events) == before:
                break
            closure = await asyncio.to_thread(auth_closure, wanted, events)
        return closure

    async def _cross_checked(self, snapshot: Snapshot, ids: StateIds, server: ServerName) -> Snapshot:
        """Compare with another server's list.

        On a difference up to three more are asked and the majority counts; without one, the server that we joined
        through does, which has told us all else that we know of the room.
        """
        if not self._policy.cross_check:
            return snapshot
        opinions = {server: await asyncio.to_thread(_fingerprint, ids)}
        lists = {opinions[server]: ids}
        await self._ask_opinions(opinions, lists, snapshot.after, wanted=1)
        if len(lists) == 1:
            return snapshot
        await self._ask_opinions(opinions, lists, snapshot.after, wanted=_SECOND_OPINIONS)
        votes = Counter(opinions.values())
        winner, count = votes.most_common(1)[0]
        others = len(opinions) - votes[opinions[server]]
        note = (
            f"{others} of {len(opinions)} servers tell another state after {snapshot.after!a} than {server}"
        )
        if count * 2 <= len(opinions):
            winner = opinions.get(self._sources.joined_via or server, opinions[server])
        if winner == opinions[server]:
            return replace(snapshot, note=note)
        chosen = next(name for name, opinion in opinions.items() if opinion == winner)
        try:
            better = await self._verified(chosen, lists[winner], snapshot.after)
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
    """Return a hash of the ids of the state, whatever their order."""
    fingerprint = sha256()
    for event_id in sorted(ids.pdu_ids):
        fingerprint.update(event_id.encode() + b"\n")
    return fingerprint.digest()
