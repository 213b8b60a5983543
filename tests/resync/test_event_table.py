"""The table of a room's events: a mapping like any other, and numbers that graphs are walked by."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from partialstate_service.matrix.event_core import pack_core
from partialstate_service.resync.event_ids import EventIds
from partialstate_service.resync.event_table import EventTable
from support.rooms import RoomBuilder

BOB = "@bob:b.example"


@pytest.fixture(params=["1", "11", "12"])
def room(request):
    room = RoomBuilder(request.param)
    room.join(BOB)
    room.message(BOB)
    return room


@pytest.fixture
def table(room):
    return EventTable(room.room_id, room.version)


def put(table, event):
    table.put(event.event_id, event.auth_event_ids, pack_core(event))


def test_what_is_put_is_there_whether_or_not_it_was_referred_to_before(room, table):
    newest_first = list(reversed(room.events.values()))
    for count, event in enumerate(newest_first):
        assert event.event_id not in table
        assert table.get(event.event_id) is None
        put(table, event)
        assert len(table) == count + 1
        assert table[event.event_id].auth_event_ids == event.auth_event_ids
        assert table.slot(event.event_id) == (event.type, event.state_key)
        assert table.membership(event.event_id) == event.content.get("membership")
    assert set(table) == set(room.events)


def test_what_is_assigned_is_kept_as_it_is_and_what_is_put_later_does_not_replace_it(room, table):
    event = room.current("m.room.member", BOB)
    table[event.event_id] = event
    put(table, event)
    assert table[event.event_id] is event
    assert table.slot(event.event_id) == (event.type, event.state_key)
    assert table.membership(event.event_id) == "join"
    assert len(table) == 1
    del table[event.event_id]
    assert event.event_id not in table
    assert len(table) == 0
    with pytest.raises(KeyError):
        del table[event.event_id]


def test_the_cited_events_include_the_create_event_that_a_room_id_implies(room, table):
    create, bob = room.current("m.room.create"), room.current("m.room.member", BOB)
    put(table, bob)
    assert table.cited_by(table.number(create.event_id)) is None
    put(table, create)
    for held in (bob, create):
        cited = [table.id_of(number) for number in table.cited_by(table.number(held.event_id))]
        implied = {create.event_id} if room.version.room_ids_as_hashes and held is bob else set()
        assert set(cited) == {*held.auth_event_ids, *implied}


def test_an_id_in_the_table_stands_for_its_equals(room, table):
    event = room.current("m.room.member", BOB)
    put(table, event)
    assert table.own_id("".join(event.event_id)) is table.own_id(event.event_id)
    assert table.own_id("$unknown") == "$unknown"


@given(one=st.sets(st.integers(0, 30)), other=st.sets(st.integers(0, 30)))
def test_a_set_of_ids_is_a_set(one, other):
    room = RoomBuilder("11")
    table = EventTable(room.room_id, room.version)
    ids = EventIds(table)
    numbered = [room.message(room.creator).event_id for _ in range(31)]
    for event_id in numbered:
        put(table, room.events[event_id])
    more = EventIds(table)
    for numbers, made in ((one, ids), (other, more)):
        for number in numbers:
            made.add(numbered[number])
    assert ids == {numbered[number] for number in one}
    assert len(ids) == len(one)
    assert ids & more == {numbered[number] for number in one & other}
    assert set(ids.without(more)) == {numbered[number] for number in one - other}
    rest = EventIds(table, ids.flags)
    asked = [numbered[number] for number in sorted(other)]
    assert rest.take([*asked, "$unknown", *asked]) == [i for i in asked if i in ids]
    assert set(rest) == set(ids.without(more))
    ids.update(more)
    assert set(ids) == {numbered[number] for number in one | other}
    assert "$unknown" not in ids
    with pytest.raises(KeyError):
        ids.add("$unknown")
