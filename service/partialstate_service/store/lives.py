"""In which life of a room its large data lies."""

from collections import OrderedDict

from partialstate_service.domain.ids import RoomId
from partialstate_service.store.keys import Keys
from partialstate_service.store.server import Server

_REMEMBERED = 10_000


class Lives:
    """The ids of the rooms' lives, as the registry has them; those seen last are remembered."""

    def __init__(self, server: Server, keys: Keys) -> None:
        self._server = server
        self._keys = keys
        self._seen: OrderedDict[RoomId, str] = OrderedDict()

    async def read(self, room_id: RoomId) -> str | None:
        """Return the room's present life, or None if the room is not partial."""
        life = await self._server.command("HGET", self._keys.of("work", room_id), "life")
        if life is None:
            self._seen.pop(room_id, None)
            return None
        return self.learn(room_id, life)

    async def recall(self, room_id: RoomId) -> str | None:
        """Return the life as it was last seen; the caller notices if it has ended since."""
        return self._seen.get(room_id) or await self.read(room_id)

    def learn(self, room_id: RoomId, life: bytes | str) -> str:
        """Remember the life of a room."""
        text = life if isinstance(life, str) else life.decode()
        self._seen[room_id] = text
        self._seen.move_to_end(room_id)
        while len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        return text

    def forget(self, room_id: RoomId) -> None:
        """Forget a life that has ended."""
        self._seen.pop(room_id, None)
