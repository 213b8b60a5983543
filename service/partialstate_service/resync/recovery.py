"""Recovers the state after one event: asks servers in turn until one's answer holds, and cross-checks it.

A snapshot is refused unless every id and its auth closure is held and verified. Rules for what cannot be verified or
fails auth: `RECOVERY.md`.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from partialstate_service.domain.ids import EventId, ServerName
from partialstate_service.federation.outcomes import FederationError, Outcome
from partialstate_service.federation.protocol import StateIds
from partialstate_service.matrix.shared_state import SharedState
from partialstate_service.resync.cross_check import CrossCheck
from partialstate_service.resync.event_ids import EventIds
from partialstate_service.resync.fetcher import Fetcher
from partialstate_service.resync.held import HeldEvents
from partialstate_service.resync.recovery_errors import (
    EvidenceAwaitedError,
    KeysNeededError,
    LoneCopiesError,
    NoServerLeftError,
    OutvotedError,
)
from partialstate_service.resync.recovery_policy import RecoveryPolicy
from partialstate_service.resync.snapshot import Snapshot, SnapshotRefusedError
from partialstate_service.resync.sources import Sources
from partialstate_service.resync.state_verification import StateVerification


class Recovery:
    """Recovers snapshots of one room."""

    def __init__(
        self,
        *,
        fetcher: Fetcher,
        sources: Sources,
        held: HeldEvents,
        states: StateVerification,
        policy: RecoveryPolicy,
        waited_s: Callable[[], float],
        patience_is_over: Callable[[], bool],
        holds_too_much: Callable[[], Awaitable[bool]],
    ) -> None:
        self._fetcher = fetcher
        self._sources = sources
        self._held = held
        self._states = states
        self._cross_check = CrossCheck(
            fetcher, sources, states, patience_s=policy.prev_patience_s, on_failure=self._note
        )
        self._policy = policy
        self._waited_s = waited_s
        self._patience_is_over = patience_is_over
        self._holds_too_much = holds_too_much
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
            note = f"no server knows {after!a:.100}: what names it is judged by its other prev events"
            nothing = frozenset[EventId]()
            return Snapshot(after, SharedState(), EventIds(self._held.events), nothing, note=note)

    async def state_after(self, after: EventId) -> Snapshot:
        """Return the verified state after *after*.

        Raises `NoServerLeftError` when every server has refused, failed or told what cannot be true, each asked once
        (twice after a time-out), or what they sent for nothing is too much to go on with; it may be tried again when
        the first cooldown is over. Raises `EvidenceAwaitedError` while keys or good copies may still turn up. Who
        lacks *after* cools down from `leave_alone_who_lacked` on.
        """
        search = _Search()
        while candidates := self._sources.available(without=search.asked, at_most=1):
            if await self._holds_too_much():
                search.is_cut_short = True
                break
            if (snapshot := await self._told_by(candidates[0], after, search)) is not None:
                return snapshot
            if search.opinions > self._policy.other_opinions:
                break
        if search.suspect is not None:
            return search.suspect
        if search.lone is not None and (snapshot := await self._told_alone(*search.lone, after, search)):
            return snapshot
        if search.evidence_needed is not None:
            raise EvidenceAwaitedError(str(search.evidence_needed))
        is_unknown = bool(search.asked) and search.asked <= self._unknown_to.get(after, set())
        raise NoServerLeftError(search.last_failure, is_unknown=is_unknown and not search.is_cut_short)

    async def _told_alone(
        self, server: ServerName, refusal: LoneCopiesError, after: EventId, search: "_Search"
    ) -> Snapshot | None:
        """Return the state that cannot be verified and one server alone tells, once it is clear that nobody else will."""
        if len(self._sources) > 1 and not self._patience_is_over():
            raise EvidenceAwaitedError(str(refusal))
        return await self._told_by(server, after, search, is_alone=True)

    async def _told_by(
        self, server: ServerName, after: EventId, search: "_Search", *, is_alone: bool = False
    ) -> Snapshot | None:
        """Return the state after *after* that *server* tells, cross-checked; None if another server is to be asked."""
        try:
            ids = await self._fetcher.state_ids(server, after)
            snapshot = await self._states.snapshot(server, ids, after, trusts_lone_copies=is_alone)
        except FederationError as error:
            search.last_failure = str(error)
            self._note(error, after)
            if error.outcome is Outcome.TIMEOUT and server not in search.timed_out:
                search.timed_out.add(server)
            else:
                search.asked.add(server)
            return None
        except (EvidenceAwaitedError, KeysNeededError) as refusal:
            # Not this server's fault; but another's state may do without.
            search.evidence_needed = search.evidence_needed or refusal
            search.asked.add(server)
            search.opinions += 1
            return None
        except LoneCopiesError as refusal:
            # Whether the server has spoilt them, another's copies will show.
            search.lone = search.lone or (server, refusal)
            search.asked.add(server)
            return None
        except SnapshotRefusedError as refusal:
            search.last_failure = f"{server}: {refusal}"
            self._sources.failed(FederationError(Outcome.INVALID, server, text=str(refusal)))
            search.asked.add(server)
            return None
        self._sources.succeeded(server)
        if not snapshot.left_out:
            return await self._checked(snapshot, ids, server, search)
        # Homeservers do carry such state; but one that does not is preferred.
        search.suspect = search.suspect or snapshot
        search.asked.add(server)
        search.opinions += 1
        return None

    async def _checked(
        self, snapshot: Snapshot, ids: StateIds, server: ServerName, search: "_Search"
    ) -> Snapshot | None:
        if not self._policy.cross_check:
            return snapshot
        try:
            return await self._cross_check.checked(snapshot, ids, server)
        except OutvotedError as error:
            search.last_failure = str(error)
            if error.awaits_evidence:
                search.evidence_needed = search.evidence_needed or error
            search.asked.add(server)
            return None


@dataclass(slots=True)
class _Search:
    """What has become of the search for one state so far."""

    asked: set[ServerName] = field(default_factory=set)
    timed_out: set[ServerName] = field(default_factory=set)
    suspect: Snapshot | None = None
    """The first state with what should not be in it."""
    evidence_needed: Exception | None = None
    """The first of the reasons to wait for keys or good copies."""
    lone: tuple[ServerName, LoneCopiesError] | None = None
    """The first server with a state of which it alone has sent what cannot be verified."""
    opinions: int = 0
    """How many servers told a state that another's may be better than."""
    is_cut_short: bool = False
    last_failure: str = "there is no server to ask"
