"""ReconcileRooms: what is wrong with one room is reported for that room, and is no matter of the others."""

import pytest
from partialstate.v1 import check_service_pb2 as checks
from partialstate.v1 import rooms_service_pb2 as pb
from partialstate.v1 import types_pb2 as types
from support.api import held_room, pdu, refused, running_api
from support.send_joins import SentJoin, sent_join


@pytest.fixture
async def api(store_url):
    """The API over a fresh store that has not been reconciled."""
    async with running_api(store_url, reconciled=False) as running:
        yield running


async def servers_of(api, join: SentJoin) -> list[str]:
    answer = await api.rooms.GetPartialRoom(pb.GetPartialRoomRequest(room_id=join.room_id))
    return list(answer.room.servers)


async def verdict(api, join: SentJoin) -> int:
    request = checks.CheckRequest(
        endpoint=checks.ENDPOINT_STATE, origin="b.example", room_id=join.room_id, event_ids=["$e"]
    )
    return (await api.check.Check(request)).verdict


def room_ids(rooms) -> list[str]:
    return [room.room_id for room in rooms]


async def test_names_that_are_no_servers_are_passed_over_as_at_a_registration(api):
    named, registered = sent_join(), sent_join()
    answer = await api.reconcile(held_room(named, servers=["a.example", "bad_host.example", "c.example", ""]))
    assert (room_ids(answer.registered), list(answer.failed)) == ([named.room_id], [])
    registered.response["servers_in_room"] = ["a.example", "bad_host.example", "c.example", ""]
    await api.register(registered)
    assert await servers_of(api, named) == await servers_of(api, registered) == ["a.example", "c.example"]


FLAWS = {
    "provisional verdict": (
        lambda join: {"partial_events": [pb.PartialEvent(pdu=pdu(join.room.message("@bob:b.example")))]},
        "room.partial_events[0].provisional_verdict must be given",
    ),
    "joined via": (
        lambda _: {"joined_via": "bad_host.example"},
        "room.joined_via: not a server name: 'bad_host.example'",
    ),
}


@pytest.mark.parametrize(("fields", "message"), FLAWS.values(), ids=FLAWS)
async def test_an_unreadable_room_fails_alone_and_keeps_a_fresh_store_from_deciding(api, fields, message):
    first, bad, last = sent_join(), sent_join(), sent_join()
    answer = await api.reconcile(held_room(first), held_room(bad, **fields(bad)), held_room(last))
    assert room_ids(answer.registered) == [first.room_id, last.room_id]
    assert list(answer.failed) == [
        pb.UnregistrableRoom(room_id=bad.room_id, reason="INVALID_FIELD", message=message)
    ]
    with refused() as refusal:
        await verdict(api, first)
    assert refusal.reason == "NOT_RECONCILED"
    answer = await api.reconcile(held_room(first), held_room(bad), held_room(last))
    assert (room_ids(answer.registered), list(answer.failed)) == ([bad.room_id], [])
    assert await verdict(api, first) == checks.VERDICT_REFUSE


@pytest.mark.parametrize(("fields", "message"), FLAWS.values(), ids=FLAWS)
async def test_an_unreadable_room_that_is_partial_here_keeps_nobody_from_deciding(api, fields, message):
    bad = sent_join()
    await api.register(bad)
    answer = await api.reconcile(held_room(bad, **fields(bad)))
    assert [(room.room_id, room.message) for room in answer.failed] == [(bad.room_id, message)]
    assert not answer.unknown_to_homeserver
    assert await verdict(api, bad) == checks.VERDICT_REFUSE


@pytest.mark.parametrize("room_id", ["", "nonsense", "!\u202e\n" * 100])
async def test_a_room_without_a_valid_id_fails_the_call_and_is_named_by_its_place(api, room_id):
    with refused() as refusal:
        await api.reconcile(held_room(sent_join()), held_room(sent_join()), pb.HeldRoom(room_id=room_id))
    assert refusal.reason == "INVALID_FIELD"
    assert refusal.facts == {"field": "rooms[2].room_id", "index": "2", "given": ascii(room_id)[:80]}


async def test_after_a_room_without_a_valid_id_a_fresh_store_decides_nothing(api):
    join = sent_join()
    with refused():
        await api.reconcile(held_room(join), pb.HeldRoom(room_id="nonsense"))
    with refused() as refusal:
        await verdict(api, join)
    assert refusal.reason == "NOT_RECONCILED"
    assert (await api.reconcile(held_room(join))).agreed_count == 1
    assert await verdict(api, join) == checks.VERDICT_REFUSE


async def test_a_room_with_a_flaw_may_be_named_again_without_it(api):
    join = sent_join()
    state = [types.Pdu(json=b"{}")]
    answer = await api.reconcile(held_room(join, non_member_state=state), held_room(join))
    # It is partial here in the end, yet the homeserver hears of the flaw.
    assert room_ids(answer.registered) == room_ids(answer.failed) == [join.room_id]
    assert await servers_of(api, join) == ["a.example"]
