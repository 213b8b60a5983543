"""The formats of what the store holds: how replicas of two releases work over one store (deploy/STORE.md has the rule).

What every release since format 1 can read is no new format: further fields of rooms, entries and progress, which who does
not know them ignores, and further kinds of entries, all of which are applied alike. Whatever else is new takes two
releases: one that reads it, and the next, which writes it.
"""

from partialstate_service.domain.errors import StoreNotUnderstoodError

READS = 1
"""The newest format that this release understands, and all before."""

WRITES = 1
"""The format that this release writes. It was understood by the release before this one."""


def require_known_format(schema: int) -> None:
    """Raise StoreNotUnderstoodError for a store that a newer release has written in a format of its own."""
    if schema > READS:
        raise StoreNotUnderstoodError(f"it is of format {schema}, and formats up to {READS} are known")
