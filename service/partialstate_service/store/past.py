"""Changes that a replica does not keep in memory any more, or never saw: from the change log itself."""

from collections.abc import AsyncIterator, Mapping

from partialstate_service.domain.errors import ForeignTokenError, TokenTooOldError
from partialstate_service.domain.ids import RoomId
from partialstate_service.domain.rooms import PartialRoom, StateToken
from partialstate_service.store.changes import Changes
from partialstate_service.store.log_entries import Entry, entry_of
from partialstate_service.store.protocol import Change

_PAGE = 200


async def past_changes(
    changes: Changes, after: StateToken, last: StateToken, rooms: Mapping[RoomId, PartialRoom]
) -> AsyncIterator[Change]:
    """Yield the changes after one token up to another.

    An entry has all small fields of its room, and the large ones (servers, ACLs, join rules, progress) where they
    changed; where it has not, and no entry before it in this stretch, they are those of *rooms*: the present ones.
    Raises TokenTooOldError, ForeignTokenError.
    """
    seen: dict[RoomId, PartialRoom] = {}
    is_first, position = True, after.revision
    while position < last.revision:
        entries = await _page(changes, position, int(last.revision))
        if is_first:
            entries = _proven(entries, after)
            is_first = False
        else:
            entries = entries[1:]
        if not entries or entries[0].revision != position + 1:
            raise TokenTooOldError("the change log no longer reaches back to the token")
        for entry in entries:
            room_id = entry.room_id
            change = entry.change(last.store_id, seen if room_id in seen else rooms)
            if room_id is not None and change.room is not None:
                seen[room_id] = change.room
            position = entry.revision
            yield change


async def _page(changes: Changes, first: int, last: int) -> list[Entry]:
    entries = await changes.server.command(
        "XRANGE", changes.keys.of("log"), f"{first}-0", f"{last}-0", "COUNT", _PAGE
    )
    return [entry_of(*entry) for entry in entries]


def _proven(entries: list[Entry], after: StateToken) -> list[Entry]:
    """Return the entries after the token's own, whose chain id must be the token's."""
    if entries and entries[0].revision == after.revision:
        if entries[0].chain != after.chain_id:
            raise ForeignTokenError("the token is of a history that this store has lost")
        return entries[1:]
    if entries and entries[0].revision == after.revision + 1 and entries[0].previous_chain != after.chain_id:
        raise ForeignTokenError("the token is of a history that this store has lost")
    return entries
