"""Why a state is not recovered yet. None of these is final."""

from partialstate_service.resync.snapshot import SnapshotRefusedError


class NoServerLeftError(Exception):
    """Every candidate server is cooling down; the text says what failed last.

    `is_unknown`: some were asked for the state after an event, and all of them said that they know no such event.
    """

    def __init__(self, text: str, *, is_unknown: bool = False) -> None:
        super().__init__(text)
        self.is_unknown = is_unknown


class KeysNeededError(SnapshotRefusedError):
    """A state cannot do without events whose signing keys nobody has."""


class LoneCopiesError(SnapshotRefusedError):
    """Events of a state, which cannot be verified, came from one server alone; it may have spoilt them or made them up."""


class EvidenceAwaitedError(Exception):
    """Signing keys, or good copies of spoilt events, are missing that may still turn up; the text says of how many."""


class OutvotedError(Exception):
    """Most servers tell another state than the one that was verified, and theirs cannot be verified now."""

    def __init__(self, text: str, *, awaits_evidence: bool, is_refuted: bool) -> None:
        """*awaits_evidence*: as in `EvidenceAwaitedError`; *is_refuted*: everybody who told it answered, and nobody can prove it."""
        super().__init__(text)
        self.is_refuted = is_refuted
        self.awaits_evidence = awaits_evidence
