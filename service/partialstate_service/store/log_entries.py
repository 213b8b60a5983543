"""The entries of the change log, as replicas read them."""

from collections.abc import Mapping
from dataclasses import dataclass

from partialstate_service.domain.ids import EventId, Generation, Revision, RoomId
from partialstate_service.domain.rooms import Ending, PartialRoom, StateToken, Tombstone
from partialstate_service.store.protocol import Change
from partialstate_service.store.records import Fields, pairs, room_of


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
        """Return the change; large fields that it does not carry are those that *rooms* has."""
        token = StateToken(store_id, self.revision, self.chain)
        kind, room_id = self.fields[b"kind"].decode(), self.room_id
        if room_id is None:
            return Change(token, kind, None, None, None)
        if (ending := self.fields.get(b"ending")) is not None:
            tombstone = Tombstone(
                room_id,
                Generation(int(self.fields[b"generation"])),
                EventId(self.fields[b"join"].decode()),
                Ending(ending.decode()),
                int(self.fields[b"ended_at"]),
            )
            return Change(token, kind, room_id, None, tombstone)
        return Change(token, kind, room_id, room_of(room_id, self.fields, rooms.get(room_id)), None)


def entry_of(entry_id: bytes, flat: list[bytes]) -> Entry:
    """Return an entry as the stream has it."""
    fields = pairs(flat)
    return Entry(
        Revision(int(entry_id.split(b"-")[0])), fields[b"chain"].decode(), fields[b"prev"].decode(), fields
    )
