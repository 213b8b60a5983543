"""Calls that come late, again, or to a store that has lost what they are about: no answer says more than is known."""

import asyncio
from functools import partial

import grpc
import pytest
from partialstate.v1 import check_service_pb2 as checks
from partialstate.v1 import recovered_state_service_pb2 as recovered
from partialstate.v1 import rooms_service_pb2 as pb
from support.api import held_room, partial_event, record, refused, running_api
from support.send_joins import sent_join
from support.store_rooms import resolve
from support.store_server import ask

EVIL = "evil.example"


async def get(api, room_id):
    return (await api.rooms.GetPartialRoom(pb.GetPartialRoomRequest(room_id=room_id))).room


def sent(join, destination=EVIL):
    event = pb.SentEvent(event_id=join.join.event_id, destinations=[destination])
    return pb.RecordSentEventsRequest(room_id=join.room_id, events=[event])


def import_of(join, generation, position=1):
    return recovered.ConfirmImportRequest(room_id=join.room_id, generation=generation, position=position)


def confirmation(join, generation):
    return pb.ConfirmJoinRequest(room_id=join.room_id, generation=generation)


async def recovered_join(api):
    """Return a join that awaits its import, at position 1."""
    join = sent_join()
    generation = (await api.register(join)).generation
    lease = await api.lease(join.room_id)
    assert await resolve(api.store, lease, join.join.event_id) == 1
    await api.store.registry.hand_back(lease, None)
    return join, generation


def join_again(join):
    join.join = join.room.join("@alice:us.example", displayname="back")
    join.response["event"] = dict(join.join.raw)


@pytest.mark.parametrize(
    "call",
    [
        lambda api, join: api.rooms.RecordPartialEvents(record(join.room, join.join)),
        lambda api, join: api.rooms.RecordSentEvents(sent(join)),
        lambda api, join: api.rooms.ConfirmJoin(confirmation(join, 7)),
        lambda api, join: api.recovered.ConfirmImport(import_of(join, 7)),
        lambda api, join: api.rooms.GetPartialRoom(pb.GetPartialRoomRequest(room_id=join.room_id)),
    ],
    ids=["record", "record-sent", "confirm-join", "confirm-import", "get"],
)
async def test_a_store_that_may_have_lost_the_room_does_not_say_that_it_is_full(store_url, call):
    async with running_api(store_url, reconciled=False) as api:
        with refused() as refusal:
            await call(api, sent_join())
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "NOT_RECONCILED")


async def test_a_join_that_was_released_as_failed_is_not_confirmed(api):
    join = sent_join()
    generation = (await api.register(join)).generation
    await api.rooms.ReleaseRoom(
        pb.ReleaseRoomRequest(
            room_id=join.room_id, generation=generation, reason=pb.RELEASE_REASON_JOIN_FAILED
        )
    )
    with refused() as refusal:
        await api.rooms.ConfirmJoin(confirmation(join, generation))
    assert refusal.reason == "ROOM_NOT_PARTIAL"


async def test_what_ended_an_import_has_the_same_answer_after_a_further_join(api):
    join, generation = await recovered_join(api)
    await api.recovered.ConfirmImport(import_of(join, generation))
    join_again(join)
    assert (await api.register(join)).generation > generation
    await api.recovered.ConfirmImport(import_of(join, generation))
    acknowledgement = recovered.AckImportRequest(room_id=join.room_id, generation=generation, position=1)
    assert (await api.recovered.AckImport(acknowledgement)).acknowledged_position == 1
    with refused() as refusal:
        await api.recovered.ConfirmImport(import_of(join, generation - 1))
    assert refusal.reason == "STALE_GENERATION"


async def test_servers_that_join_by_events_with_full_state_are_destinations(api):
    join, generation = await recovered_join(api)
    acknowledgement = recovered.AckImportRequest(room_id=join.room_id, generation=generation, position=1)
    await api.recovered.AckImport(acknowledgement)
    answer = await api.rooms.RecordPartialEvents(record(join.room, join.room.join("@zoe:new.example")))
    assert list(answer.outcomes) == [pb.RECORD_OUTCOME_EVENT_NOT_PARTIAL]
    destinations = await api.rooms.GetDestinations(pb.GetDestinationsRequest(room_id=join.room_id))
    assert "new.example" in destinations.servers


class TestAcl:
    """A server that the newest ACL denies stays denied."""

    @pytest.fixture
    async def join(self, api):
        join = sent_join(acl={"allow": ["*"]})
        await api.register(join)
        await api.verify(join.room_id)
        await api.rooms.RecordSentEvents(sent(join))
        return join

    @pytest.fixture
    def acls(self, join):
        """An ACL that denies nobody, and the one that replaces it."""
        creator = join.room.creator
        return [
            join.room.send("m.room.server_acl", creator, {"allow": ["*"], "deny": deny}, "")
            for deny in ([], [EVIL])
        ]

    @pytest.fixture
    async def verdict(self, api, join):
        request = checks.CheckRequest(
            endpoint=checks.ENDPOINT_EVENT_AUTH,
            origin=EVIL,
            room_id=join.room_id,
            event_ids=[join.join.event_id],
        )

        async def verdict():
            return (await api.check.Check(request)).reason

        assert await verdict() == checks.REASON_SENT_BY_US
        return verdict

    async def test_when_an_older_event_is_recorded_again_beside_a_new_one(self, api, join, acls, verdict):
        before, after = (partial_event(acl, after=[acl]) for acl in acls)
        for events in ([before], [after], [before, partial_event(join.room.message("@bob:b.example"))]):
            await api.rooms.RecordPartialEvents(
                pb.RecordPartialEventsRequest(room_id=join.room_id, events=events)
            )
        assert await verdict() == checks.REASON_ACL_DENIED

    async def test_when_a_further_join_brings_an_older_response(self, api, join, acls, verdict):
        event = partial_event(acls[1], after=[acls[1]])
        await api.rooms.RecordPartialEvents(
            pb.RecordPartialEventsRequest(room_id=join.room_id, events=[event])
        )
        join_again(join)
        await api.register(join)
        await api.verify(join.room_id)
        assert await verdict() == checks.REASON_ACL_DENIED


@pytest.mark.parametrize("writes_since", [False, True])
async def test_a_store_that_is_wiped_during_a_reconciliation_does_not_decide(store_url, writes_since):
    async with running_api(store_url, reconciled=False) as api:
        join, token = sent_join(), await api.token()
        prefix = api.store.registry._changes.settings.key_prefix
        script = f"for _, key in ipairs(redis.call('KEYS', '{prefix}:*')) do redis.call('DEL', key) end"

        async def stream():
            yield pb.ReconcileRoomsRequest(header=pb.ReconcileRoomsHeader(state_token=token))
            yield pb.ReconcileRoomsRequest(room=held_room(join))
            async with asyncio.timeout(10):
                while (await api.store.registry.find(join.room_id))[0] is None:  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(0.01)
            await asyncio.to_thread(partial(ask, store_url.removeprefix("unix://")), "EVAL", script, "0")
            if writes_since:
                await api.register(sent_join())

        with refused() as refusal:
            await api.rooms.ReconcileRooms(stream())
        assert refusal.reason == "FOREIGN_TOKEN"
        with refused() as refusal:
            await api.check.Check(
                checks.CheckRequest(
                    endpoint=checks.ENDPOINT_STATE,
                    origin="b.example",
                    room_id=join.room_id,
                    event_ids=["$e"],
                )
            )
        assert refusal.reason == "NOT_RECONCILED"
