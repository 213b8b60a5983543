"""The names of all keys.

They lie in two kinds of hash slots, so that the same scripts run on one server and on a cluster: everything of the
registry in the slot `{registry}`, the large data of a room in the slot of its room id.
A *life* of a room is the time from its first partial join to the end of its partial state; its id is random.
"""

from dataclasses import dataclass

from partialstate_service.domain.ids import RoomId

# The order in which `scripts/_keys.lua` unpacks them.
_REGISTRY = (
    "meta",  # hash: store_id, revision, chain, reconciled, fencing, repeated, schema (see formats.py)
    "log",  # stream: the change log
    "rooms",  # sorted set of all rooms, by id
    "due:normal",  # sorted set: room, when it next needs attention
    "due:waiting",  # the same for rooms that a user waits for
    "event_rooms",  # hash: recorded event, its room
    "tombstones",  # hash: "room j join event", "room g generation" or "room last", the tombstone
    "ended",  # sorted set: field of a tombstone, when it ended
    "garbage",  # set: "C chunk" and "L life room" that nothing names any more
    "uncommitted",  # sorted set: the same that nothing names yet, when it was written
)
_ROOM = (
    "room",  # hash: the room as replicas mirror it
    "work",  # hash: life, sequence, lease and what else replicas need not know
    "joins",  # hash: join event, "generation confirmed abandoned"
    "order",  # sorted set: recorded event, its sequence
    "resolved",  # sorted set: recorded event with full state, the position of its verdict
    "full",  # set: events that were answered EVENT_NOT_PARTIAL
    "chunks",  # set: the committed chunks
    "seeds",  # list of chunks
    "verified",  # list of chunks
    "snapshots",  # hash: event, chunk
    "segments",  # list: the recovered-state log
)


@dataclass(frozen=True, slots=True)
class Keys:
    """All keys of one service."""

    prefix: str

    @property
    def registry(self) -> list[str]:
        """The keys that every script of the registry gets first."""
        return [f"{self.prefix}:{{registry}}:{name}" for name in _REGISTRY]

    def room(self, room_id: RoomId) -> list[str]:
        """Return all keys of the registry that a change of *room_id* may touch."""
        return self.registry + [f"{self.prefix}:{{registry}}:{name}:{room_id}" for name in _ROOM]

    def of(self, name: str, room_id: RoomId | None = None) -> str:
        """Return one key of the registry."""
        suffix = "" if room_id is None else f":{room_id}"
        return f"{self.prefix}:{{registry}}:{name}{suffix}"

    def chunk(self, room_id: RoomId, kind: str, owner: str, nonce: str) -> str:
        """Return the key of a new chunk, in the slot of its room."""
        return f"{self.prefix}:{{{room_id}}}:{kind}:{owner}:{nonce}"

    def events(self, room_id: RoomId, life: str) -> str:
        """Hash: recorded event, its JSON with what was recorded with it."""
        return f"{self.prefix}:{{{room_id}}}:{life}:events"

    def sent(self, room_id: RoomId, life: str) -> str:
        """Hash: sent event, the digest of its set of destinations."""
        return f"{self.prefix}:{{{room_id}}}:{life}:sent"

    def destinations(self, room_id: RoomId, life: str) -> str:
        """Hash: digest, a set of destinations."""
        return f"{self.prefix}:{{{room_id}}}:{life}:destinations"

    def ended(self, room_id: RoomId, life: str) -> str:
        """A mark that the life has ended, so that late writers leave nothing behind."""
        return f"{self.prefix}:{{{room_id}}}:{life}:ended"

    def life(self, room_id: RoomId, life: str) -> list[str]:
        """Return the keys of one life of a room, in its slot, the mark of the end first."""
        return [
            self.ended(room_id, life),
            self.events(room_id, life),
            self.sent(room_id, life),
            self.destinations(room_id, life),
        ]
