"""Frontends that check rooms at random, and write down what each verdict says of them."""

import asyncio
import random
import time
from collections.abc import Sequence
from typing import Any

import grpc
from partialstate.v1 import check_service_pb2 as checks
from partialstate.v1 import types_pb2 as types
from support.api import Api
from support.api_calls import CALL_S, Answer, LostAnswerError, asked
from support.called_rooms import Room
from support.linearizability import Call
from support.mortal_replicas import Replica

ORIGINS = ("b.example", "c.example")


class Checker:
    """Checks any room by any replica."""

    def __init__(self, replicas: Sequence[Replica], rooms: Sequence[Room], rng: random.Random) -> None:
        self.replicas, self.rooms, self.rng = replicas, rooms, rng
        self.token: tuple[types.StateToken, float] | None = None
        self.lost = 0

    async def check_until(self, stop: asyncio.Event) -> None:
        """Only check, until told to stop."""
        while not stop.is_set():
            api = await self.rng.choice(self.replicas).api()
            try:
                await self.check(api, self.rng.choice(self.rooms), self.rng)
            except LostAnswerError:
                self.lost += 1
            await asyncio.sleep(self.rng.random() * 0.003)

    async def check(self, api: Api, room: Room, rng: random.Random) -> None:
        request, begun = self._check_request(room, rng), time.monotonic()
        if self.token is not None and rng.random() < 0.2:
            # As of the token or later: of a time after the token was asked for.
            token, begun = self.token
            request.optional_consistency.at_least_as_fresh.CopyFrom(token)
        answer = await asked(api.check.Check, request)
        assert not isinstance(answer, tuple), answer
        self._write_down(room, request, answer, begun)

    async def batch_check(self, api: Api, room: Room, rng: random.Random) -> None:
        del room
        items = [(one, self._check_request(one, rng)) for one in rng.choices(self.rooms, k=4)]
        begun = time.monotonic()
        request = checks.BatchCheckRequest(requests=[item for _, item in items])
        answer = await asked(api.check.BatchCheck, request)
        for (one, item), result in zip(items, answer.results, strict=True):
            self._write_down(one, item, result.decision, begun)

    async def stream_check(self, api: Api, room: Room, rng: random.Random) -> None:
        del room
        items = [(one, self._check_request(one, rng)) for one in rng.choices(self.rooms, k=4)]

        async def messages() -> Any:
            for _, item in items:
                yield checks.StreamCheckRequest(request=item)

        begun = time.monotonic()
        waiting = iter(items)
        try:
            async for message in api.check.StreamCheck(messages(), timeout=CALL_S):
                one, item = next(waiting)
                if message.result.HasField("decision"):
                    self._write_down(one, item, message.result.decision, begun)
        except grpc.aio.AioRpcError as error:
            raise LostAnswerError from error

    def _check_request(self, room: Room, rng: random.Random) -> checks.CheckRequest:
        endpoint = rng.choice(["STATE_IDS", "EVENT", "TIMESTAMP_TO_EVENT", "SEND_JOIN_V2", "INVITE_V2"])
        return checks.CheckRequest(
            endpoint=checks.Endpoint.Value(f"ENDPOINT_{endpoint}"),
            origin=rng.choice(ORIGINS),
            room_id=room.room_id,
            event_ids=[rng.choice(room.events).event_id],
        )

    def _write_down(
        self, room: Room, request: checks.CheckRequest, answer: checks.CheckResponse, begun: float
    ) -> None:
        ended = time.monotonic()
        partial = answer.verdict != checks.VERDICT_PROCEED
        seen: Answer = partial, ("generation", answer.generation)
        match request.endpoint:
            case checks.ENDPOINT_TIMESTAMP_TO_EVENT:
                said = *seen, answer.verdict == checks.VERDICT_ANSWER
                room.calls.append(Call("check_history", (), begun, ended, said))
                return
            case checks.ENDPOINT_EVENT:
                if partial:
                    named = request.event_ids[0], request.origin
                    said = (answer.verdict == checks.VERDICT_ANSWER,)
                    room.calls.append(Call("check_sent", named, begun, ended, said))
            case checks.ENDPOINT_STATE_IDS | checks.ENDPOINT_SEND_JOIN_V2:
                assert answer.verdict in (checks.VERDICT_PROCEED, checks.VERDICT_REFUSE)
        room.calls.append(Call("check", (), begun, ended, seen))
