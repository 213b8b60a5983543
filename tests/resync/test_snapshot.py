"""What may be the state after an event, and how it is kept."""

import pytest
from partialstate_service.matrix.event_core import pack_core
from partialstate_service.resync.authorisation import auth_closure, rejected_by_auth_events
from partialstate_service.resync.event_table import EventTable
from partialstate_service.resync.held import HeldChunk
from partialstate_service.resync.snapshot import (
    Snapshot,
    SnapshotRefusedError,
    build_state,
    decode_snapshot,
    encode_snapshot,
    state_after,
)
from partialstate_service.store.protocol import Chunk
from support.rooms import RoomBuilder

BOB, EVE = "@bob:b.example", "@eve:e.example"


@pytest.fixture(params=["6", "10", "11", "12"])
def room(request):
    room = RoomBuilder(request.param)
    room.join(BOB)
    return room


def ids_of(room):
    return [event.event_id for event in room.full_state.values()]


def table_of(room, without=()):
    """Hold the room's events as a resync does."""
    table = EventTable(room.room_id, room.version)
    for event in room.events.values():
        if event.event_id not in without:
            table.put(event.event_id, event.auth_event_ids, pack_core(event))
    return table


def built(room, ids, rejected=(), omitted=()):
    return build_state(ids, table_of(room), rejected, omitted, room.current("m.room.create").event_id)


def test_the_state_is_what_the_ids_say(room):
    assert built(room, ids_of(room)) == {key: event.event_id for key, event in room.full_state.items()}


def test_an_event_without_state_key_is_refused(room):
    with pytest.raises(SnapshotRefusedError, match="no state event"):
        built(room, [*ids_of(room), room.message(BOB).event_id])


def test_two_events_for_one_slot_are_refused(room):
    """Not "the last one wins": a server could smuggle in what it likes."""
    first = room.current("m.room.member", BOB)
    ids = ids_of(room)
    room.leave(BOB)
    with pytest.raises(SnapshotRefusedError, match="two events"):
        built(room, [*ids, room.current("m.room.member", BOB).event_id])
    assert first.event_id in ids


def test_a_state_without_the_known_create_event_is_refused(room):
    create = room.current("m.room.create").event_id
    with pytest.raises(SnapshotRefusedError, match="create"):
        built(room, [event_id for event_id in ids_of(room) if event_id != create])


def test_rejected_and_omitted_events_are_in_no_state(room):
    bob = room.current("m.room.member", BOB).event_id
    assert ("m.room.member", BOB) not in built(room, ids_of(room), rejected=[bob])
    assert ("m.room.member", BOB) not in built(room, ids_of(room), omitted=[bob])


def test_the_state_after_a_state_event_has_it(room):
    before = built(room, ids_of(room))
    left = room.leave(BOB)
    after, rejection = state_after(left, before, table_of(room), set())
    assert rejection is None
    assert after[("m.room.member", BOB)] == left.event_id


def test_an_event_that_the_state_before_it_does_not_allow_changes_nothing(room):
    """A server could otherwise name a state in which its own event is forbidden (Synapse omits this check)."""
    room.ban(BOB)
    before = built(room, ids_of(room))
    old_join = room.join(BOB)
    after, rejection = state_after(old_join, before, table_of(room), set())
    assert rejection is not None
    assert after == before


def test_the_auth_closure_reaches_the_create_event(room):
    bob = room.current("m.room.member", BOB)
    closure = auth_closure([bob.event_id], table_of(room))
    assert room.current("m.room.create").event_id in closure.held
    assert not closure.missing
    levels = room.current("m.room.power_levels").event_id
    assert auth_closure([bob.event_id], table_of(room, without={levels})).missing == {levels}
    assert auth_closure(["$nowhere"], table_of(room)).missing == {"$nowhere"}


def test_what_refers_to_a_rejected_event_is_rejected_too(room):
    eves = room.join_rules("invite", sender=EVE)  # not even a member
    forbidden = room.join("@mallory:e.example")
    table = table_of(room)
    rejected = rejected_by_auth_events(auth_closure(ids_of(room), table).held, table)
    assert {eves.event_id, forbidden.event_id} <= rejected.keys()
    assert room.current("m.room.member", BOB).event_id not in rejected


@pytest.fixture
def chunks(room):
    """Two chunks with some of the room's events; the homeserver has recorded the others."""
    ids = list(room.events)
    chunk = Chunk("key one", "", 0, 3), Chunk("key two", "", 0, 1)
    return [HeldChunk(chunk[0], ids[:3]), HeldChunk(chunk[1], ids[3:4])]


@pytest.fixture
def snapshot(room):
    bob = room.current("m.room.member", BOB).event_id
    table = table_of(room)
    return Snapshot(
        after=room.head,
        state=built(room, ids_of(room), omitted=[bob]),
        closure=auth_closure(ids_of(room), table).held,
        rejected=frozenset({room.head}),
        left_out=frozenset({bob}),
        unverified=frozenset({bob}),
        note="two servers differ",
    )


def test_a_snapshot_comes_back_as_it_was_kept(room, snapshot, chunks):
    items = encode_snapshot(snapshot, chunks)
    # An attempt that goes on has numbered the events in another order.
    other = EventTable(room.room_id, room.version)
    other.update(reversed(list(table_of(room).items())))
    assert decode_snapshot(items, other, chunks) == snapshot


def test_a_snapshot_of_which_an_event_or_a_chunk_is_gone_is_none(room, snapshot, chunks):
    items = encode_snapshot(snapshot, chunks)
    gone = room.current("m.room.power_levels").event_id
    assert decode_snapshot(items, table_of(room, without={gone}), chunks) is None
    assert decode_snapshot(items, table_of(room), chunks[1:]) is None
