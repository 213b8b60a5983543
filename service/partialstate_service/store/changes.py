"""How a change of the registry is made: one script, one revision, one entry of the change log."""

import secrets
import time
from collections.abc import Callable
from typing import Any, NoReturn

from partialstate_service.domain.errors import (
    ImportIncompleteError,
    JoinConfirmedError,
    LeaseLostError,
    NotReconciledError,
    PositionOutOfRangeError,
    RoomAbandonedError,
    RoomNotPartialError,
    StaleGenerationError,
    StoreNotUnderstoodError,
    StoreUnavailableError,
)
from partialstate_service.domain.ids import Generation, Position, RoomId
from partialstate_service.store.exchange import Argument
from partialstate_service.store.formats import WRITES, require_known_format
from partialstate_service.store.keys import Keys
from partialstate_service.store.records import tombstone_of
from partialstate_service.store.server import Server
from partialstate_service.store.settings import StoreSettings
from partialstate_service.store.urls import UnsuitableStoreError

Reply = list[Any]
_ANY = Generation(0)


class Changes:
    """Runs the scripts of the registry."""

    def __init__(
        self, server: Server, keys: Keys, settings: StoreSettings, clock: Callable[[], float] = time.time
    ) -> None:
        self.server = server
        self.keys = keys
        self.settings = settings
        self.clock = clock

    async def initialise(self) -> None:
        """Give a new store its identity."""
        schema = await self.server.run(
            "initialise",
            [self.keys.of("meta")],
            [secrets.token_hex(8), secrets.token_hex(8), WRITES],
        )
        try:
            require_known_format(int(schema))
        except StoreNotUnderstoodError as error:
            raise UnsuitableStoreError(str(error)) from None

    async def announce(self, item: str) -> None:
        """Name what is about to be written ("C chunk", "L life room"), so that it is dropped if nothing commits it.

        Done before the write, so that a crash between the two leaves nothing that nobody knows of.
        """
        await self.server.command("ZADD", self.keys.of("uncommitted"), int(self.clock() * 1000), item)

    async def call(self, name: str, room_id: RoomId | None, *arguments: Argument) -> Reply:
        """Run a script for one room, or for none, and return its reply: a code, the state token, more.

        A store that was wiped meanwhile gets a new identity first: what is written to it is kept, and that it decides
        nothing before it is reconciled is the mirror's business. Raises StoreUnavailableError, also in the form of
        StoreNotUnderstoodError.
        """
        room = room_id or RoomId("")
        for _ in range(2):
            reply: Reply = await self.server.run(
                name,
                self.keys.room(room),
                [secrets.token_hex(8), self.settings.log_limit, room, *arguments],
            )
            if reply[0] == b"NEWER":
                require_known_format(int(reply[1]))
            if reply[0] != b"FRESH":
                return reply
            await self.initialise()
        raise StoreUnavailableError("the store is wiped over and over")


def refuse(reply: Reply, room_id: RoomId, generation: Generation = _ANY) -> NoReturn:
    """Raise the error that a script's reply stands for."""
    code, more = reply[0], reply[4:]
    match code:
        case b"NOT_PARTIAL":
            raise RoomNotPartialError(room_id, tombstone_of(room_id, more[0]) if more and more[0] else None)
        case b"NOT_RECONCILED":
            raise NotReconciledError("whether the room is partial is not known before ReconcileRooms")
        case b"STALE":
            raise StaleGenerationError(room_id, generation, Generation(int(more[0])))
        case b"CONFIRMED":
            raise JoinConfirmedError(room_id, generation)
        case b"ABANDONED":
            raise RoomAbandonedError(room_id)
        case b"LEASE_LOST":
            raise LeaseLostError(room_id)
        case b"CHUNK_GONE":
            raise StoreUnavailableError("a chunk was committed too late: it has expired")
        case _:
            raise StoreUnavailableError(f"the registry answered {code!r}")


def refuse_position(reply: Reply, room_id: RoomId, generation: Generation, position: Position) -> NoReturn:
    """As `refuse`, for calls that name a position of the log."""
    match reply[0]:
        case b"OUT_OF_RANGE":
            raise PositionOutOfRangeError(room_id, position, Position(int(reply[4])))
        case b"INCOMPLETE":
            raise ImportIncompleteError(room_id, position, Position(int(reply[4])), int(reply[5]))
        case _:
            refuse(reply, room_id, generation)
