"""ReconcileRooms: differences in both directions, and nothing decided before the first one."""

from dataclasses import replace

import pytest
from partialstate.v1 import check_service_pb2 as checks
from partialstate.v1 import rooms_service_pb2 as pb
from partialstate.v1 import types_pb2 as types
from support.api import held_room, refused, running_api
from support.send_joins import SentJoin, sent_join


@pytest.fixture
async def api(store_url):
    """The API over a fresh store that has not been reconciled."""
    async with running_api(store_url, reconciled=False) as running:
        yield running


def again(join: SentJoin) -> SentJoin:
    """Return a further join of the same user."""
    event = join.room.join(join.join.sender, displayname="back")
    return replace(join, join=event, response={**join.response, "event": dict(event.raw)})


def bare(join: SentJoin) -> pb.HeldRoom:
    return pb.HeldRoom(room_id=join.room_id, room_version=join.version, join_event=join.join_event)


async def get(api, room_id):
    return (await api.rooms.GetPartialRoom(pb.GetPartialRoomRequest(room_id=room_id))).room


async def verdict(api, room_id) -> int:
    request = checks.CheckRequest(
        endpoint=checks.ENDPOINT_STATE, origin="b.example", room_id=room_id, event_ids=["$e"]
    )
    return (await api.check.Check(request)).verdict


async def test_a_room_that_the_registry_does_not_know_is_registered(api):
    join = sent_join()
    event = join.room.message("@bob:b.example")
    answer = await api.reconcile(held_room(join, event, optional_device_list_position=7))
    [registered] = answer.registered
    room = await get(api, join.room_id)
    assert (registered.room_id, registered.generation) == (join.room_id, room.generation)
    assert room.join_confirmed
    assert room.pending_event_count == 2
    assert list(room.servers) == ["a.example"]
    assert room.optional_device_list_position == 7
    assert await verdict(api, join.room_id) == checks.VERDICT_REFUSE
    again = await api.reconcile(held_room(join, event))
    assert (again.agreed_count, len(again.registered)) == (1, 0)


async def test_a_known_room_is_agreed_upon_and_its_join_confirmed(api):
    join = sent_join()
    await api.register(join)
    answer = await api.reconcile(bare(join))
    assert answer.agreed_count == 1
    assert (await get(api, join.room_id)).join_confirmed


async def test_a_join_that_is_registered_at_the_same_time_is_confirmed(api, monkeypatch):
    join = sent_join()
    hold, looks = api.store.registry.hold_join, []

    async def just_before(room_id, join_event_id):
        found = await hold(room_id, join_event_id)
        if not looks:
            await api.register(join)
        looks.append(found)
        return found

    monkeypatch.setattr(api.store.registry, "hold_join", just_before)
    assert (await api.reconcile(held_room(join))).agreed_count == 1
    assert (await get(api, join.room_id)).join_confirmed
    assert looks[0] is None


async def test_a_join_that_fails_at_the_same_time_is_reported_as_ended(api, monkeypatch):
    join = sent_join()
    hold, looks = api.store.registry.hold_join, []

    async def just_before(room_id, join_event_id):
        found = await hold(room_id, join_event_id)
        if not looks:
            registered = await api.register(join)
            await api.rooms.ReleaseRoom(
                pb.ReleaseRoomRequest(
                    room_id=join.room_id,
                    generation=registered.generation,
                    reason=pb.RELEASE_REASON_JOIN_FAILED,
                )
            )
        looks.append(found)
        return found

    monkeypatch.setattr(api.store.registry, "hold_join", just_before)
    [ended] = (await api.reconcile(held_room(join))).ended
    assert ended.room_id == join.room_id


async def test_an_earlier_join_that_is_held_cannot_fail_any_more(api):
    first = sent_join()
    registered = await api.register(first)
    second = await api.register(again(first))
    assert (await api.reconcile(bare(first))).agreed_count == 1
    release = pb.ReleaseRoomRequest(
        room_id=first.room_id, generation=second.generation, reason=pb.RELEASE_REASON_JOIN_FAILED
    )
    await api.rooms.ReleaseRoom(release)
    room = await get(api, first.room_id)
    assert (room.join_event_id, room.join_confirmed) == (first.join.event_id, True)
    assert room.generation > registered.generation


async def test_a_room_that_is_named_twice_counts_once(api):
    known, new, over, unnamed = (sent_join() for _ in range(4))
    await api.register(known)
    ended = await api.register(over)
    await api.rooms.ReleaseRoom(
        pb.ReleaseRoomRequest(
            room_id=over.room_id, generation=ended.generation, reason=pb.RELEASE_REASON_PURGED
        )
    )
    named = [
        *(bare(known), held_room(known, known.room.message("@bob:b.example"))),
        *(held_room(new), held_room(new, new.room.message("@bob:b.example"))),
        *(bare(over), bare(over)),
        *([pb.HeldRoom(room_id=unnamed.room_id)] * 2),
    ]
    answer = await api.reconcile(*named)
    assert [room.room_id for room in answer.registered] == [new.room_id]
    assert [room.room_id for room in answer.ended] == [over.room_id]
    assert [room.room_id for room in answer.failed] == [unnamed.room_id]
    assert answer.agreed_count == 1
    # What the second one brings is taken all the same.
    for join in (known, new):
        assert (await get(api, join.room_id)).pending_event_count == 2


async def test_the_id_alone_suffices_for_a_room_that_is_partial(api):
    join = sent_join()
    await api.register(join)
    answer = await api.reconcile(pb.HeldRoom(room_id=join.room_id))
    assert (answer.agreed_count, list(answer.failed), list(answer.unknown_to_homeserver)) == (1, [], [])
    assert await verdict(api, join.room_id) == checks.VERDICT_REFUSE


async def test_events_that_the_registry_lost_are_recorded(api):
    join = sent_join()
    await api.register(join)
    await api.reconcile(held_room(join, join.room.message("@bob:b.example")))
    assert (await get(api, join.room_id)).pending_event_count == 2


async def test_rooms_that_the_homeserver_does_not_name_are_reported_and_kept(api):
    join = sent_join()
    registered = await api.register(join)
    answer = await api.reconcile()
    [unknown] = answer.unknown_to_homeserver
    assert unknown == pb.ReconciledRoom(room_id=join.room_id, generation=registered.generation)
    assert await verdict(api, join.room_id) == checks.VERDICT_REFUSE


async def test_a_room_registered_while_the_homeserver_lists_is_no_difference(api):
    token = await api.token()
    await api.register(sent_join())
    assert not (await api.reconcile(token=token)).unknown_to_homeserver


async def test_an_ended_join_is_reported_and_not_registered_again(api):
    join = sent_join()
    registered = await api.register(join)
    await api.rooms.ReleaseRoom(
        pb.ReleaseRoomRequest(
            room_id=join.room_id,
            generation=registered.generation,
            reason=pb.RELEASE_REASON_PURGED,
        )
    )
    answer = await api.reconcile(held_room(join))
    [ended] = answer.ended
    assert (ended.generation, ended.optional_ending) == (registered.generation, types.ENDING_PURGED)
    assert not answer.registered


async def test_a_later_join_than_the_registry_knows_raises_the_generation(api):
    join = sent_join()
    first = await api.register(join)
    join.join = join.room.join("@alice:us.example", displayname="again")
    [second] = (await api.reconcile(held_room(join))).registered
    assert second.generation > first.generation


async def test_a_room_without_servers_is_partial_all_the_same(api):
    join = sent_join()
    assert (await api.reconcile(bare(join))).registered
    assert not (await get(api, join.room_id)).servers
    assert await verdict(api, join.room_id) == checks.VERDICT_REFUSE


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"room_version": "99"}, "UNSUPPORTED_ROOM_VERSION"),
        ({"join_event": b"{}"}, "INVALID_EVENT"),
        ({"join_event": b""}, "INVALID_FIELD"),
        ({"non_member_state": [types.Pdu(json=b"{}")]}, "INVALID_EVENT"),
    ],
)
async def test_while_a_room_cannot_be_made_partial_a_fresh_store_decides_nothing(api, fields, reason):
    good, bad = sent_join(), sent_join()
    answer = await api.reconcile(held_room(good), held_room(bad, **fields))
    [failed] = answer.failed
    assert (failed.room_id, failed.reason) == (bad.room_id, reason)
    assert len(answer.registered) == 1
    with refused() as refusal:
        await verdict(api, bad.room_id)
    assert refusal.reason == "NOT_RECONCILED"
    await api.reconcile(held_room(good), held_room(bad))
    assert await verdict(api, bad.room_id) == checks.VERDICT_REFUSE


async def test_a_room_with_a_bad_event_is_reported_but_partial(api):
    join = sent_join()
    room = held_room(join)
    room.partial_events.append(
        pb.PartialEvent(pdu=types.Pdu(json=b"{}"), provisional_verdict=pb.PROVISIONAL_VERDICT_ACCEPTED)
    )
    answer = await api.reconcile(room)
    assert [failed.reason for failed in answer.failed] == ["INVALID_EVENT"]
    assert await verdict(api, join.room_id) == checks.VERDICT_REFUSE


async def test_the_stream_is_a_header_and_then_rooms(api):
    async def messages(*some):
        for message in some:
            yield message

    header = pb.ReconcileRoomsRequest(header=pb.ReconcileRoomsHeader(state_token=await api.token()))
    room = pb.ReconcileRoomsRequest(room=bare(sent_join()))
    for some in ([], [room], [header, room, header], [pb.ReconcileRoomsRequest()]):
        with refused() as refusal:
            await api.rooms.ReconcileRooms(messages(*some))
        assert refusal.reason == "INVALID_STREAM"


async def test_the_token_must_be_of_this_store(api, store_url):
    async with running_api(store_url) as other:
        foreign = await other.token()
    with refused() as refusal:
        await api.reconcile(token=foreign)
    assert refusal.reason == "FOREIGN_TOKEN"
    with refused() as refusal:
        await api.reconcile(token=types.StateToken())
    assert refusal.reason == "INVALID_TOKEN"
