"""Homeservers' frontends, and workers, that call replicas of the API at random, and write down what they were told."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from partialstate.v1 import recovered_state_service_pb2 as recovered
from partialstate.v1 import rooms_service_pb2 as pb
from partialstate.v1 import types_pb2 as types
from support.api import Api, held_room, partial_event, pdu, registration
from support.api_calls import Answer, LostAnswerError, asked, done
from support.called_rooms import Room
from support.checking_clients import ORIGINS, Checker
from support.linearizability import Call
from support.random_worker import resync


class Client(Checker):
    """Calls any replica about any room, and repeats what it got no answer to."""

    async def work(self, calls: int) -> None:
        """Make that many calls, each until it is answered or given up."""
        for _ in range(calls):
            call = self.rng.choice(_CALLS)
            room = self.rng.choice(self.rooms)
            again = self.rng.getrandbits(32)
            while True:
                rng = random.Random(again)  # a repetition is the same call, to whichever replica
                api = await self.rng.choice(self.replicas).api()
                try:
                    await call(self, api, room, rng)
                    break
                except LostAnswerError:
                    self.lost += 1
                    if self.rng.random() < 0.3:
                        break
                    await asyncio.sleep(0.02)
            await asyncio.sleep(self.rng.random() * 0.01)

    async def _called(
        self,
        room: Room,
        name: str,
        arguments: Answer,
        call: Callable[[], Awaitable[Answer]],
        *,
        reads: bool = False,
    ) -> Answer:
        """Make a call and write it down; one that changes nothing is left out if its answer is lost."""
        begun = time.monotonic()
        try:
            answer = await call()
        except LostAnswerError:
            if not reads:
                room.calls.append(Call(name, arguments, begun))
            raise
        room.calls.append(Call(name, arguments, begun, time.monotonic(), answer))
        for part in answer:
            if isinstance(part, tuple) and part[:1] == ("generation",) and part[1]:
                room.generations.append(part[1])
        return answer

    # --- the homeserver's calls

    async def _register(self, api: Api, room: Room, rng: random.Random) -> None:
        join = rng.choice(room.joins)

        async def call() -> Answer:
            answer = await asked(api.rooms.RegisterPartialJoin, registration(join))
            if isinstance(answer, tuple):
                return answer
            ending = types.Ending.Name(answer.optional_ending) if answer.HasField("optional_ending") else None
            room.named[join.join.event_id].add(answer.generation)
            outcome = pb.RegistrationOutcome.Name(answer.outcome).removeprefix("REGISTRATION_OUTCOME_")
            return outcome, ("generation", answer.generation), _ending(ending)

        await self._called(room, "register_partial_join", (join.join.event_id,), call)

    async def _confirm_join(self, api: Api, room: Room, rng: random.Random) -> None:
        generation = _one_of(room.generations, rng)
        request = pb.ConfirmJoinRequest(room_id=room.room_id, generation=generation)
        await self._called(
            room, "confirm_join", (generation,), lambda: done(asked(api.rooms.ConfirmJoin, request))
        )

    async def _record(self, api: Api, room: Room, rng: random.Random) -> None:
        event = rng.choice(room.events)
        request = pb.RecordPartialEventsRequest(room_id=room.room_id, events=[partial_event(event)])

        async def call() -> Answer:
            answer = await asked(api.rooms.RecordPartialEvents, request)
            [outcome] = answer.outcomes
            return (
                pb.RecordOutcome.Name(outcome).removeprefix("RECORD_OUTCOME_"),
                ("generation", answer.generation),
            )

        await self._called(room, "record_partial_event", (event.event_id, event.prev_event_ids), call)

    async def _send(self, api: Api, room: Room, rng: random.Random) -> None:
        event, origin = rng.choice(room.events).event_id, rng.choice(ORIGINS)
        sent = pb.SentEvent(event_id=event, destinations=[origin])
        request = pb.RecordSentEventsRequest(room_id=room.room_id, events=[sent])

        async def call() -> Answer:
            return ((await asked(api.rooms.RecordSentEvents, request)).room_is_partial,)

        await self._called(room, "record_sent_event", (event, origin), call)

    async def _release(self, api: Api, room: Room, rng: random.Random) -> None:
        generation = _one_of(room.generations, rng)
        reason = rng.choice(["LEFT", "PURGED", "JOIN_FAILED"])
        request = pb.ReleaseRoomRequest(
            room_id=room.room_id,
            generation=generation,
            reason=pb.ReleaseReason.Value(f"RELEASE_REASON_{reason}"),
        )
        await self._called(
            room, "release_room", (generation, reason), lambda: done(asked(api.rooms.ReleaseRoom, request))
        )

    async def _retry(self, api: Api, room: Room, rng: random.Random) -> None:
        server = f"extra{rng.randrange(3)}.example"
        request = pb.RetryResyncRequest(room_id=room.room_id, additional_servers=[server])
        await self._called(
            room, "retry_resync", (server,), lambda: done(asked(api.rooms.RetryResync, request))
        )

    async def _acknowledge(self, api: Api, room: Room, rng: random.Random) -> None:
        generation, position = _one_of(room.generations, rng), rng.randrange(3)
        request = recovered.AckImportRequest(room_id=room.room_id, generation=generation, position=position)

        async def call() -> Answer:
            answer = await asked(api.recovered.AckImport, request)
            return answer if isinstance(answer, tuple) else ("OK", answer.acknowledged_position)

        await self._called(room, "ack_import", (generation, position), call)

    async def _confirm_import(self, api: Api, room: Room, rng: random.Random) -> None:
        get = await asked(api.rooms.GetPartialRoom, pb.GetPartialRoomRequest(room_id=room.room_id))
        if isinstance(get, tuple):
            generation, position = _one_of(room.generations, rng), 1
        else:
            generation, position = get.room.generation, get.room.log_position
        request = recovered.ConfirmImportRequest(
            room_id=room.room_id, generation=generation, position=position
        )
        await self._called(
            room,
            "confirm_import",
            (generation, position),
            lambda: done(asked(api.recovered.ConfirmImport, request)),
        )

    async def _reconcile(self, api: Api, room: Room, rng: random.Random) -> None:
        """Name some of the rooms; what the answer says of each is that room's own call."""
        token = (await asked(api.rooms.ListPartialRooms, pb.ListPartialRoomsRequest())).state_token
        held = {one.room_id: rng.choice(one.joins) for one in self.rooms if rng.random() < 0.4}
        listed_at = int(token.token.split(".")[1])

        async def messages() -> Any:
            yield pb.ReconcileRoomsRequest(header=pb.ReconcileRoomsHeader(state_token=token))
            for one in self.rooms:
                if (join := held.get(one.room_id)) is not None:
                    yield pb.ReconcileRoomsRequest(
                        room=held_room(
                            join,
                            servers=join.response["servers_in_room"],
                            non_member_state=map(pdu, one.state()),
                        )
                    )

        begun = time.monotonic()
        try:
            answer = await asked(api.rooms.ReconcileRooms, messages())
        except LostAnswerError:
            for one in self.rooms:
                if (join := held.get(one.room_id)) is not None:
                    one.calls.append(Call("reconcile_named", (join.join.event_id,), begun))
            raise
        ended = time.monotonic()
        assert not isinstance(answer, tuple), answer
        assert not answer.failed
        gone = {line.room_id: line for line in answer.ended}
        for line in (*answer.ended, *answer.registered):
            one = next(one for one in self.rooms if one.room_id == line.room_id)
            one.named[held[line.room_id].join.event_id].add(line.generation)
        unknown = {line.room_id: line for line in answer.unknown_to_homeserver}
        for one in self.rooms:
            if (join := held.get(one.room_id)) is not None:
                # Whether two that register the same join at once call it registered or agreed upon, is all the same.
                said: Answer = ("held",)
                if (line := gone.get(one.room_id)) is not None:
                    said = "ended", ("generation", line.generation), _ending(_ending_name(line))
                one.calls.append(Call("reconcile_named", (join.join.event_id,), begun, ended, said))
                continue
            said = ("no difference",)
            if (line := unknown.get(one.room_id)) is not None:
                said = "unknown", ("generation", line.generation), line.join_confirmed
            one.calls.append(Call("reconcile_unnamed", (listed_at,), begun, ended, said))

    # --- reads

    async def _get(self, api: Api, room: Room, rng: random.Random) -> None:
        del rng
        request = pb.GetPartialRoomRequest(room_id=room.room_id)

        async def call() -> Answer:
            answer = await asked(api.rooms.GetPartialRoom, request)
            return answer if isinstance(answer, tuple) else _room(answer.room)

        await self._called(room, "get_partial_room", (), call, reads=True)

    async def _list(self, api: Api, room: Room, rng: random.Random) -> None:
        del room, rng
        begun = time.monotonic()
        answer = await asked(api.rooms.ListPartialRooms, pb.ListPartialRoomsRequest())
        ended = time.monotonic()
        self.token = answer.state_token, begun
        found = {room.room_id: _room(room) for room in answer.rooms}
        for one in self.rooms:
            said = found.get(one.room_id, ("ROOM_NOT_PARTIAL",))
            one.calls.append(Call("get_partial_room", (), begun, ended, said))

    async def _destinations(self, api: Api, room: Room, rng: random.Random) -> None:
        del rng
        request = pb.GetDestinationsRequest(room_id=room.room_id)

        async def call() -> Answer:
            answer = await asked(api.rooms.GetDestinations, request)
            if isinstance(answer, tuple):
                return answer
            return ("generation", answer.generation), tuple(answer.servers)

        await self._called(room, "get_destinations", (), call, reads=True)

    async def _resync(self, api: Api, room: Room, rng: random.Random) -> None:
        del room
        await resync(api, self.rooms, rng)


_CALLS: Sequence[Callable[[Client, Api, Room, random.Random], Awaitable[None]]] = (
    *(Client._register, Client._register, Client._confirm_join, Client._record, Client._record),
    *(Client._send, Client._release, Client._retry, Client._acknowledge, Client._confirm_import),
    *(Client._reconcile, Client._get, Client._list, Client._destinations),
    *(Checker.check, Checker.check, Checker.check, Checker.batch_check, Checker.stream_check),
    *(Client._resync, Client._resync, Client._resync),
)


def _one_of(generations: Sequence[int], rng: random.Random) -> int:
    """Return one that is known, a late one rather than an early one; 1 is nobody's."""
    return rng.choice([*generations[-2:], *generations[-2:], *generations[-10:]] or [1])


def _room(room: pb.PartialRoom) -> Answer:
    return (
        ("generation", room.generation),
        types.RoomStatus.Name(room.status).removeprefix("ROOM_STATUS_"),
        *(room.join_event_id, room.join_confirmed, room.state_verified),
        *(room.pending_event_count, room.unimported_event_count),
        *(room.log_position, room.acknowledged_position),
        tuple(sorted(room.servers)),
    )


def _ending_name(line: pb.ReconciledRoom) -> str | None:
    return types.Ending.Name(line.optional_ending) if line.HasField("optional_ending") else None


def _ending(name: str | None) -> str | None:
    return None if name is None else name.removeprefix("ENDING_")
