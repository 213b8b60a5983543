"""Clients that keep a copy of the registry by listing it and watching its changes, through replicas that die."""

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import grpc
from partialstate.v1 import rooms_service_pb2 as pb
from partialstate.v1 import types_pb2 as types
from partialstate.v1 import watch_service_pb2 as watch
from partialstate_service.domain.ids import Revision
from partialstate_service.domain.rooms import StateToken
from partialstate_service.store.protocol import Change
from support.api import Api
from support.api_calls import LostAnswerError, asked, reason_of
from support.mortal_replicas import Replica
from support.watch_guarantees import Stream

LIST_AGAIN = {"TOKEN_TOO_OLD", "FOREIGN_TOKEN"}


@dataclass
class Watched:
    """Streams that were each begun with the last token of the one before, from a list on."""

    store_id: str
    streams: list[Stream] = field(default_factory=list)


class WatchingClient:
    """Watches any replica; *slow* ones take their time between messages."""

    def __init__(self, replicas: Sequence[Replica], rng: random.Random, *, slow: bool = False) -> None:
        self._replicas, self._rng, self._slow = replicas, rng, slow
        self.rooms: dict[str, pb.PartialRoom] = {}
        self.watched: list[Watched] = []
        self.endings: list[str] = []
        """Why streams ended that were not given up: reasons of the API."""
        self.token = types.StateToken()
        self.awake = asyncio.Event()
        """While it is not set, the client ends its stream and watches nothing."""
        self.awake.set()
        self._moved = asyncio.Event()

    @property
    def revision(self) -> int:
        """Up to where it has seen everything."""
        return parsed(self.token).revision if self.token.token else 0

    async def moved(self) -> None:
        """Return once the client has been told something more, a bookmark at least."""
        self._moved.clear()
        await self._moved.wait()

    async def run(self) -> None:
        """List and watch, until cancelled."""
        while True:
            await self.awake.wait()
            api = await self._rng.choice(self._replicas).api()
            with suppress(LostAnswerError):
                if not self.token.token:
                    await self._list(api)
                await self._watch(api)
            # A replica that dies takes a moment to come back, and one without its store is asked again.
            await asyncio.sleep(self._rng.random() * 0.02)

    async def _list(self, api: Api) -> None:
        answer = await asked(api.rooms.ListPartialRooms, pb.ListPartialRoomsRequest())
        self.rooms = {room.room_id: room for room in answer.rooms}
        self.token = answer.state_token
        self._moved.set()
        self.watched.append(Watched(parsed(self.token).store_id))

    async def _watch(self, api: Api) -> None:
        stream = Stream(Revision(self.revision))
        self.watched[-1].streams.append(stream)
        patience = self._rng.randrange(1, 60)
        call = api.watch.Watch(watch.WatchRequest(optional_after=self.token))
        try:
            async for message in call:
                self._see(stream, message)
                if len(stream.sent) >= patience or not self.awake.is_set():
                    return
                if self._slow:
                    await asyncio.sleep(self._rng.random() * 0.02)
        except grpc.aio.AioRpcError as error:
            reason = reason_of(error)
            self.endings.append(reason)
            if reason in LIST_AGAIN:
                self.token = types.StateToken()
        finally:
            call.cancel()

    def _see(self, stream: Stream, message: watch.WatchResponse) -> None:
        kind = message.WhichOneof("event") or "bookmark"
        stream.sent.append(Change(parsed(message.state_token), kind, None, None, None))
        self.token = message.state_token
        self._moved.set()
        match kind:
            case "changed":
                self.rooms[message.changed.room_id] = message.changed
            case "ended":
                self.rooms.pop(message.ended.room_id, None)


def parsed(token: types.StateToken) -> StateToken:
    """Return a token in its parts."""
    store_id, revision, chain = token.token.split(".")
    return StateToken(store_id, Revision(int(revision)), chain)
