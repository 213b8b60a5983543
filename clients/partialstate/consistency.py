"""Points in the history of the registry, and how fresh the registry must be that a check is decided on."""

from dataclasses import dataclass
from typing import NewType, TypeAlias

StateToken = NewType("StateToken", str)
"""One point in the history of the registry. Opaque: compare it by nothing. Short, printable, safe in logs."""


@dataclass(frozen=True, slots=True)
class FullyConsistent:
    """Decide on all that was committed before the check arrived. The default."""


@dataclass(frozen=True, slots=True)
class AtLeastAsFresh:
    """Decide on this point of history or a later one; costs no read of the store when already seen."""

    state_token: StateToken


@dataclass(frozen=True, slots=True)
class BoundedStaleness:
    """Decide on a registry that was known to be current at most *max_age_s* seconds ago; at most 60."""

    max_age_s: float


Consistency: TypeAlias = FullyConsistent | AtLeastAsFresh | BoundedStaleness
