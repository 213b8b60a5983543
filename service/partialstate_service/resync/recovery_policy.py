"""What an operator may decide about the recovery of a state."""

from dataclasses import dataclass


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
    """How many more events than its server's `/state_ids` named a snapshot may need, if some of them are not held, and how
    many the auth chains of recorded events in one attempt: what auth events name in turn is for their authors to choose,
    and need not end."""
    max_spare_bytes: int = 128 * 1024 * 1024
    """How many bytes of verified events, as stored and in memory, are kept of a room that no recovered state needs: what refused
    snapshots have brought, twice that and one answer at the most. The states of rooms of 400,000 members have less."""
