"""Completes the auth chains of the events that the homeserver recorded; without them there is no verdict."""

from collections import Counter
from collections.abc import Awaitable, Callable
from collections.abc import Set as AbstractSet

from partialstate_service.domain.ids import EventId
from partialstate_service.matrix.replay import Replay
from partialstate_service.resync.decisions import Decisions
from partialstate_service.resync.fetcher import Fetcher
from partialstate_service.resync.recovery_errors import NoServerLeftError
from partialstate_service.resync.recovery_policy import RecoveryPolicy

_SERVERS_PER_EVENT = 5
_SOUGHT_AT_ONCE = 500
"""How many missing events of one chain are sought before the next one has its turn."""
_SERVERS_BEFORE_RENOUNCING = 50
"""How many servers must know nothing of an auth event, if there are so many, before what needs it is rejected."""


class RecordedAuth:
    """Completes, or in the end renounces, the auth chains of what *replay* still has to judge."""

    def __init__(
        self,
        replay: Replay,
        fetcher: Fetcher,
        decisions: Decisions,
        *,
        policy: RecoveryPolicy,
        waited_s: Callable[[], float],
        holds_too_much: Callable[[], Awaitable[bool]],
        on_finding: Callable[[str], object],
    ) -> None:
        self._replay = replay
        self._fetcher = fetcher
        self._decisions = decisions
        self._policy = policy
        self._waited_s = waited_s
        self._holds_too_much = holds_too_much
        self._on_finding = on_finding

    async def complete(self) -> None:
        """Fetch the auth events of recorded events that are not held.

        What no server knows, and chains that do not end, are sought for as long as a prev event; then what rests on
        them is rejected. Raises `NoServerLeftError` while something is missing.
        """
        is_over = self._waited_s() >= self._policy.prev_patience_s
        if not await self._holds_too_much():
            await self._fetch(is_over=is_over)
        if still_missing := self._replay.missing_auth_events():
            raise NoServerLeftError(
                f"{len(still_missing)} auth events of recorded events cannot be had, such as {min(still_missing)!a:.100}"
            )

    async def _fetch(self, *, is_over: bool) -> None:
        sought: set[EventId] = set()
        needs: Counter[EventId] = Counter()
        while wanted := self._next(sought, needs):
            if len(sought) + len(wanted) > self._policy.max_unnamed_events or await self._holds_too_much():
                if is_over:
                    await self._renounce_endless(sought, needs)
                return
            sought |= wanted
            unknown = await self._fetcher.fetch_events(
                wanted, at_most=_SERVERS_BEFORE_RENOUNCING if is_over else _SERVERS_PER_EVENT
            )
            if is_over:
                await self._renounce_unknown(unknown)

    def _next(self, sought: AbstractSet[EventId], needs: Counter[EventId]) -> set[EventId]:
        """Return what to seek next, a part for each event, so that none waits behind another's endless chain.

        *needs* counts what each event has needed so far.
        """
        wanted: set[EventId] = set()
        for event_id, gaps in self._replay.auth_gaps().items():
            part = sorted(gaps - sought)[:_SOUGHT_AT_ONCE]
            needs[event_id] += len(part)
            wanted.update(part)
        return wanted

    async def _renounce_unknown(self, unknown: AbstractSet[EventId]) -> None:
        """Reject what needs one of *unknown*."""
        for event_id, gaps in self._replay.auth_gaps().items():
            if lacking := gaps & unknown:
                await self._renounce(event_id, min(lacking))
                self._on_finding(
                    f"no server knows {min(lacking)!a:.100}: what needs it for its auth is rejected"
                )

    async def _renounce_endless(self, sought: AbstractSet[EventId], needs: Counter[EventId]) -> None:
        """Reject what has needed most of what was sought: whoever may speak in a room may invent a chain without end."""
        endless = {event_id: gaps for event_id, gaps in self._replay.auth_gaps().items() if gaps - sought}
        fair_share = sum(needs[event_id] for event_id in endless) / len(endless)
        for event_id, gaps in endless.items():
            if needs[event_id] >= fair_share:
                await self._renounce(event_id, min(gaps - sought))
                self._on_finding(
                    f"{event_id!a:.100} is rejected: its auth chain is longer than what is fetched for it"
                )

    async def _renounce(self, event_id: EventId, lacking: EventId) -> None:
        """Give an auth chain up, and keep that: it holds for every later worker, whatever turns up."""
        await self._decisions.commit_renunciation(event_id, lacking)
        self._replay.renounce_auth_chain(event_id, lacking)
