"""How far a resync is: a board that the work writes on, and that is reported to the registry now and then."""

from dataclasses import replace

from partialstate_service.domain.ids import EventId
from partialstate_service.domain.rooms import Progress, ResyncStage
from partialstate_service.resync.sources import Sources

_MAX_IDS = 100
_MAX_FAILURE_CHARS = 300


class ProgressBoard:
    """The progress of one room; `changed` says whether there is something new to report."""

    def __init__(self, progress: Progress, sources: Sources) -> None:
        self._progress = replace(progress, attempts=progress.attempts + 1, next_attempt_ms=None)
        self._fetched_before = progress.events_fetched
        self._sources = sources
        self._reported: Progress | None = None

    def stage(self, stage: ResyncStage) -> None:
        """Say what is being done now."""
        self._progress = replace(self._progress, stage=stage)

    def expect(self, events: int) -> None:
        """Say how many events the state has that is being fetched."""
        self._progress = replace(self._progress, events_expected=max(events, self._progress.events_expected))

    def count(self, fetched: int, verified: int) -> None:
        """Say how many events were fetched in this attempt, and how many verified ones are held in all."""
        self._progress = replace(
            self._progress, events_fetched=self._fetched_before + fetched, events_verified=verified
        )

    def left_out(self, left_out: frozenset[EventId], unverified: frozenset[EventId]) -> None:
        """Say what a snapshot lacks."""
        before = self._progress
        self._progress = replace(
            before,
            left_out=tuple(sorted({*before.left_out, *left_out})[:_MAX_IDS]),
            unverified=tuple(sorted({*before.unverified, *unverified})[:_MAX_IDS]),
        )

    def note(self, text: str) -> None:
        """Say what an operator should know of the state that is recovered; nothing, if there is no text."""
        if text:
            self._progress = replace(self._progress, last_failure=text[:_MAX_FAILURE_CHARS])

    def keys_missing(self, now_ms: int) -> int:
        """Say that a state is at hand that only keys are missing for; return since when that is so."""
        since_ms = self._progress.keys_missing_since_ms
        if since_ms is None:
            since_ms = now_ms
            self._progress = replace(self._progress, keys_missing_since_ms=now_ms)
        return since_ms

    def failed(self, text: str, next_attempt_ms: int | None) -> None:
        """Say why the attempt ended without success and when the next one is due."""
        self._progress = replace(
            self._progress,
            stage=ResyncStage.WAITING,
            last_failure=text[:_MAX_FAILURE_CHARS],
            next_attempt_ms=next_attempt_ms,
        )

    def current(self) -> Progress:
        """Return the progress as it is now."""
        return replace(self._progress, servers=self._sources.records())

    def unreported(self) -> Progress | None:
        """Return the progress if it differs from what was returned before."""
        current = self.current()
        if current == self._reported:
            return None
        self._reported = current
        return current
