"""The entries of the change log, as replicas read them."""

from collections.abc import Mapping
from dataclasses import dataclass

from partialstate_service.domain.ids import Revision, RoomId
from partialstate_service.domain.rooms import PartialRoom, StateToken
from partialstate_service.store.formats import require_known_format
from partialstate_service.store.protocol import Change
from partialstate_service.store.records import Fields, pairs, room_of, tombstone_of


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry: a revision, its chain id and that of its predecessor, and what it says of one room."""

    revision: Revision
    chain: str
    previous_chain: str
    fields: Fields

    @property
    def room_id(self) -> RoomId | None:
        """The room, or None for a change of the store as a whole."""
        return RoomId(self.fields[b"room"].decode()) or None

    @property
    def is_complete(self) -> bool:
        """Whether the entry has the large fields of its room too, so that it can be read without its predecessors."""
        return b"servers" in self.fields and b"acls" in self.fields and b"progress" in self.fields

    def change(self, store_id: str, rooms: Mapping[RoomId, PartialRoom]) -> Change:
        """Return the change; large fields that it does not carry are those that *rooms* has.

        Its kind need not be known: what an entry says of its room is said in the same way by all kinds, and what one that
        names no room would have changed, other than where the registry stands, takes a new format. Raises
        StoreNotUnderstoodError for an entry of such a format.
        """
        require_known_format(int(self.fields.get(b"format", 1)))
        token = StateToken(store_id, self.revision, self.chain)
        kind, room_id = self.fields[b"kind"].decode(), self.room_id
        if room_id is None:
            return Change(token, kind, None, None, None)
        if (ending := self.fields.get(b"ending")) is not None:
            texts = (self.fields[b"generation"], ending, self.fields[b"ended_at"], self.fields[b"join"])
            return Change(token, kind, room_id, None, tombstone_of(room_id, b" ".join(texts)))
        return Change(token, kind, room_id, room_of(room_id, self.fields, rooms.get(room_id)), None)


def entry_of(entry_id: bytes, flat: list[bytes]) -> Entry:
    """Return an entry as the stream has it."""
    fields = pairs(flat)
    return Entry(
        Revision(int(entry_id.split(b"-")[0])), fields[b"chain"].decode(), fields[b"prev"].decode(), fields
    )
