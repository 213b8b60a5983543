"""Who verifies an event authorises it where that is possible; the judgement is the same as if nobody had."""

import dataclasses
import random
import time

import pytest
from partialstate_service.demo.world import WorldSize, generated_world
from partialstate_service.matrix.event_auth import AuthRejectionError
from partialstate_service.matrix.event_core import PackedEvent
from partialstate_service.matrix.incoming import check_by_auth_events
from partialstate_service.matrix.keys import ServerKeys
from partialstate_service.matrix.parsing import parse_event_bytes
from partialstate_service.matrix.signing import sign_event
from partialstate_service.resync.authorisation import auth_closure, rejected_by_auth_events
from partialstate_service.resync.event_ids import EventIds
from partialstate_service.resync.event_table import EventTable
from partialstate_service.resync.verification_task import VerdictKind, verify_chunk
from support.rooms import RoomBuilder

SIZE = WorldSize(members=30, servers=3, messages=2)


@pytest.fixture(params=["1", "6", "9", "11", "12"])
def world(request):
    now_ms = time.time_ns() // 1_000_000
    with generated_world(SIZE, random.Random(0), now_ms=now_ms, version=request.param) as world:
        yield world


@pytest.fixture
def forbidden(world):
    """An event that its auth events do not allow, one that cites it, and one that cites that one."""
    server = world.servers[1]
    room, somebody, other = world.room, server.user("u1"), server.user("u101")
    events = []
    for sender, kind, content, state_key in (
        (somebody, "m.room.join_rules", {"join_rule": "public"}, ""),
        (other, "m.room.member", {"membership": "join"}, other),
        (other, "m.room.message", {"body": "hello"}, None),
    ):
        raw = room.template(sender, kind, content, state_key, world.tick())
        if room.version.version == "1":
            raw["event_id"] = f"$forbidden{len(events)}:{server.name}"
        events.append(room.put(sign_event(raw, room.version, server.name, server.key)).event_id)
    return events


def keys_of(world):
    until_ms = world.now_ms + 1_000_000
    return {s.name: ServerKeys(s.name, until_ms, {s.key.key_id: s.key.public}, {}) for s in world.servers}


def verdicts_on(world, bodies, known):
    room = world.room
    verdicts = verify_chunk(bodies, room.version.version, room.room_id, keys_of(world), known)
    assert all(verdict.kind is VerdictKind.VALID for verdict in verdicts)
    return verdicts


def held_by_table(world, verdicts):
    table = EventTable(world.room.room_id, world.room.version)
    for verdict in verdicts:
        assert table.put(verdict.event_id, verdict.auth_event_ids, verdict.core)
    allowed = EventIds(table)
    for verdict in verdicts:
        if verdict.is_allowed:
            allowed.add(verdict.event_id)
    return table, allowed


def test_what_rests_on_known_events_is_authorised_on_the_way_and_nothing_else(world, forbidden):
    bodies = [event.json for event in world.room.events.values()]
    table, allowed = held_by_table(world, verdicts_on(world, bodies, {}))
    assert set(allowed) == {world.room.current_state()["m.room.create", ""]}  # it alone rests on nothing
    known: dict[str, PackedEvent] = {
        event_id: table.packed(event_id) for event_id in table if table.slot(event_id)[0] != "m.room.member"
    }
    table, allowed = held_by_table(world, verdicts_on(world, bodies, known))
    # A message cites its sender's membership, which is not among what is known.
    members = {event.event_id for event in world.room.events.values() if event.membership == "join"}
    messages = {event.event_id for event in world.room.events.values() if event.type == "m.room.message"}
    assert len(allowed & members) >= SIZE.members - 1
    assert not allowed & messages
    assert forbidden[0] not in allowed
    closure = auth_closure(world.room.events, table).held
    unaided = rejected_by_auth_events(closure, table)
    assert unaided.keys() == set(forbidden)
    aided = rejected_by_auth_events(closure, table, allowed)
    assert {event_id: error.rule for event_id, error in aided.items()} == {
        event_id: error.rule for event_id, error in unaided.items()
    }


def test_what_is_known_to_be_allowed_falls_with_what_it_cites(world, forbidden):
    bodies = [event.json for event in world.room.events.values()]
    table, _ = held_by_table(world, verdicts_on(world, bodies, {}))
    known = {event_id: table.packed(event_id) for event_id in table}
    table, allowed = held_by_table(world, verdicts_on(world, bodies, known))
    assert set(forbidden[1:]) <= set(allowed)
    closure = auth_closure(world.room.events, table).held
    assert rejected_by_auth_events(closure, table, allowed).keys() == set(forbidden)


def test_a_packed_event_is_the_event_as_it_is_held(world):
    table = EventTable(world.room.room_id, world.room.version)
    for event in world.room.events.values():
        parsed = parse_event_bytes(event.json, world.room.version)
        table[event.event_id] = parsed
        assigned = table.packed(event.event_id)
        del table[event.event_id]
        assert table.put(event.event_id, *assigned)
        assert table.packed(event.event_id) == assigned
    assert set(table) == set(world.room.events)


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("length", [1, 2, 3])
def test_events_that_cite_each_other_in_a_circle_authorise_nobody(version, length):
    """Whoever makes an event of these versions chooses its id, so it can cite what cites it."""
    room = RoomBuilder(version)
    user = "@nobody:b.example"
    member = room.join(user)
    create = room.current("m.room.create")
    ids = [f"$circle{number}:b.example" for number in range(length)]
    circle = [
        dataclasses.replace(
            room.current("m.room.power_levels"),
            event_id=event_id,
            sender=user,
            content={"users": {user: 100}},
            prev_event_ids=(member.event_id,),
            auth_event_ids=(create.event_id, member.event_id, ids[(number + 1) % length]),
        )
        for number, event_id in enumerate(ids)
    ]
    table = EventTable(room.room_id, room.version)
    events = {event.event_id: event for event in (*room.events.values(), *circle)}
    for event in events.values():
        table[event.event_id] = event
    closure = auth_closure(events, table).held
    for allowed in (EventIds(table), closure):
        assert rejected_by_auth_events(closure, table, allowed).keys() == set(ids)
    for event in circle:
        with pytest.raises(AuthRejectionError):
            check_by_auth_events(event, events)
    check_by_auth_events(member, events)
