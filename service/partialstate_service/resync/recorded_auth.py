"""Completes the auth chains of the events that the homeserver recorded; without them there is no verdict."""

from collections.abc import Callable
from collections.abc import Set as AbstractSet

from partialstate_service.domain.ids import EventId
from partialstate_service.matrix.replay import Replay
from partialstate_service.resync.decisions import Decisions
from partialstate_service.resync.fetcher import Fetcher
from partialstate_service.resync.recovery_errors import NoServerLeftError
from partialstate_service.resync.recovery_policy import RecoveryPolicy

_SERVERS_PER_EVENT = 5
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
        on_finding: Callable[[str], object],
    ) -> None:
        self._replay = replay
        self._fetcher = fetcher
        self._decisions = decisions
        self._policy = policy
        self._waited_s = waited_s
        self._on_finding = on_finding

    async def complete(self) -> None:
        """Fetch the auth events of recorded events that are not held.

        What no server knows is sought for as long as a prev event; then what rests on it is rejected. Raises
        `NoServerLeftError` while something is missing.
        """
        is_over = self._waited_s() >= self._policy.prev_patience_s
        sought: set[EventId] = set()
        while missing := self._replay.missing_auth_events() - sought:
            sought |= missing
            if len(sought) > self._policy.max_unnamed_events:
                break
            unknown = await self._fetcher.fetch_events(
                missing, at_most=_SERVERS_BEFORE_RENOUNCING if is_over else _SERVERS_PER_EVENT
            )
            if is_over:
                await self._renounce(unknown)
        if still_missing := self._replay.missing_auth_events():
            raise NoServerLeftError(
                f"{len(still_missing)} auth events of recorded events cannot be had, such as {min(still_missing)!a}"
            )

    async def _renounce(self, unknown: AbstractSet[EventId]) -> None:
        """Reject what needs one of *unknown*, and keep that: it holds for every later worker, whatever turns up."""
        for event_id, gaps in self._replay.auth_gaps().items():
            if not (lacking := gaps & unknown):
                continue
            await self._decisions.commit_renunciation(event_id, min(lacking))
            self._replay.renounce_auth_chain(event_id, min(lacking))
            self._on_finding(f"no server knows {min(lacking)!a}: what needs it for its auth is rejected")
