"""What all parts of the frontend work with."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from partialstate import PartialStateClient

from partialstate_service.demo.frontend.held_room import HeldRoom
from partialstate_service.demo.x_matrix import SignedClient
from partialstate_service.domain.endpoints import Endpoint
from partialstate_service.domain.ids import RoomId, ServerName
from partialstate_service.federation.protocol import KeySource
from partialstate_service.matrix.ed25519 import KeyId, SigningKey
from partialstate_service.matrix.event import JsonObject

MAX_ANSWERED = 10_000
MAX_STAGED = 1_000


class AnsweredRequest(NamedTuple):
    """A request of another server, and the status that it got; *origin* is empty where it is not authenticated."""

    origin: str
    endpoint: Endpoint
    status: int


class NotInRoomError(LookupError):
    """The homeserver does not hold the room."""


@dataclass(frozen=True, slots=True)
class Homeserver:
    """The homeserver: its name and key, the service, its ways to other servers, and the rooms that it holds."""

    name: ServerName
    key: SigningKey
    service: PartialStateClient
    peers: SignedClient
    keys: KeySource
    now_ms: Callable[[], int]
    rooms: dict[RoomId, HeldRoom] = field(default_factory=dict)
    answered: deque[AnsweredRequest] = field(default_factory=lambda: deque(maxlen=MAX_ANSWERED))
    """The latest requests of other servers."""
    staged: "asyncio.Queue[tuple[ServerName, JsonObject]]" = field(
        default_factory=lambda: asyncio.Queue(MAX_STAGED)
    )
    """Events of other servers that wait for the service, each with the server that sent it."""

    def room(self, room_id: str) -> HeldRoom:
        """Return a room that is held, or raise `NotInRoomError`."""
        try:
            return self.rooms[RoomId(room_id)]
        except KeyError:
            raise NotInRoomError(f"not in room {room_id!a}") from None

    async def request_key(self, server: ServerName, key_id: KeyId) -> bytes | None:
        """Return the public key that *server* signs requests with now, if it can be had."""
        found = await self.keys.keys_for({server: self.now_ms()})
        return found[server].verify_keys.get(key_id) if server in found else None
