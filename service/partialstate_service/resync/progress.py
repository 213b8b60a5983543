"""How far a resync is: a board that the work writes on, and that is reported to the registry now and then."""

from dataclasses import replace

from partialstate_service.domain.ids import EventId
from partialstate_service.domain.rooms import Progress, ResyncStage
from partialstate_service.resync.sources import Sources

_MAX_IDS = 100
_MAX_TEXT_CHARS = 300
_MAX_FINDINGS = 10


class ProgressBoard:
    """The progress of one room; `changed` says whether there is something new to report."""

    def __init__(self, progress: Progress, sources: Sources) -> None:
        self._progress = replace(progress, attempts=progress.attempts + 1, next_attempt_ms=None)
        self._fetched_before = progress.events_fetched
        self._sources = sources
        self._reported: Progress | None = None
        # Since the last success.
        self._lacks_keys = False
        self._has_verified = False

    def stage(self, stage: ResyncStage) -> None:
        """Say what is being done now."""
        self._progress = replace(self._progress, stage=stage)

    def expect(self, events: int) -> None:
        """Say how many events the state has that is being fetched."""
        # What another server told before may have been any number.
        self._progress = replace(self._progress, events_expected=events)

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

    def found(self, text: str) -> None:
        """Say what an operator should know of the state that is recovered; nothing, if there is no text."""
        finding = text[:_MAX_TEXT_CHARS]
        if finding and finding not in self._progress.findings:
            findings = (*self._progress.findings, finding)[-_MAX_FINDINGS:]
            self._progress = replace(self._progress, findings=findings)

    def keys_missing(self, now_ms: int) -> int:
        """Say that a state is at hand that only keys are missing for; return since when that is so."""
        self._lacks_keys = True
        since_ms = self._progress.keys_missing_since_ms
        if since_ms is None:
            since_ms = now_ms
            self._progress = replace(self._progress, keys_missing_since_ms=now_ms)
        return since_ms

    def has_lacked_keys_for(self, patience_ms: int, now_ms: int) -> bool:
        """Whether that is so for at least *patience_ms*."""
        since_ms = self._progress.keys_missing_since_ms
        return since_ms is not None and now_ms - since_ms >= patience_ms

    def verified_state(self) -> None:
        """Say that a state was fetched and verified, as far as keys allow."""
        self._has_verified = True

    def succeeded(self) -> None:
        """Say that every recorded event has its full state."""
        self._progress = replace(self._progress, stage=ResyncStage.DONE, last_failure="")
        if self._has_verified and not self._lacks_keys:
            # All have turned up, so the next gap has the whole patience. Keys that were done without are not waited
            # for again with every further event.
            self._progress = replace(self._progress, keys_missing_since_ms=None)
        self._has_verified = self._lacks_keys = False

    def failed(self, text: str, next_attempt_ms: int | None) -> None:
        """Say why the attempt ended without success and when the next one is due."""
        self._progress = replace(
            self._progress,
            stage=ResyncStage.WAITING,
            last_failure=text[:_MAX_TEXT_CHARS],
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
