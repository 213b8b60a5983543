"""Where state resolution follows the servers rather than the specification: one test per section of DEVIATIONS.md."""

import re
from collections.abc import Callable
from importlib.resources import files

from partialstate_service.matrix.auth_graph import ForwardAuthGraph
from partialstate_service.matrix.power_ordering import is_power_event, power_ordered
from partialstate_service.matrix.state_res import resolve
from partialstate_service.matrix.state_res_v2 import auth_difference
from support.rooms import FIRST_TS, RoomBuilder

BOB, CAROL = "@bob:b.example", "@carol:c.example"
PROOFS: dict[str, str] = {}


def deviation(title: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    def register(test: Callable[[], None]) -> Callable[[], None]:
        PROOFS[title] = test.__name__
        return test

    return register


def test_every_section_has_a_test() -> None:
    """And no test is without its explanation."""
    document = (files("partialstate_service.matrix") / "DEVIATIONS.md").read_text("utf-8")
    (part,) = re.findall(r"^## State resolution\n(.*?)(?=^## )", document, re.DOTALL | re.MULTILINE)
    assert set(re.findall(r"^### (.+)$", part, re.MULTILINE)) == set(PROOFS)


@deviation("The auth difference counts the state's own events")
def test_a_set_s_own_events_are_part_of_its_auth_chain() -> None:
    """Bob's membership is part of both states; only on one side something rests on it. It is in both chains."""
    room = RoomBuilder("10")
    room.join(BOB)
    other = room.fork()
    topic = room.send("m.room.topic", BOB, {"topic": "t"}, "")
    assert room.state["m.room.member", BOB] in topic.auth_event_ids
    conflicts = {("m.room.topic", ""): frozenset([topic.event_id])}
    graph = ForwardAuthGraph(room.events)
    assert auth_difference([room.state, other.state], conflicts, room.events, graph) == set()


@deviation("Rejected events stay out")
def test_an_event_that_was_rejected_once_does_not_enter() -> None:
    """Although the state that is being resolved would allow it."""
    room = RoomBuilder("10")
    other = room.fork()
    one = room.send("m.room.topic", room.creator, {"topic": "one"}, "")
    two = other.send("m.room.topic", room.creator, {"topic": "two"}, "")
    states = [room.state, other.state]
    assert resolve(room.version, states, room.events)["m.room.topic", ""] == two.event_id
    assert resolve(room.version, states, room.events, {two.event_id})["m.room.topic", ""] == one.event_id


@deviation("The create event is a power event")
def test_the_create_event_is_a_power_event() -> None:
    """The specification names power levels, join rules, kicks and bans."""
    assert is_power_event(RoomBuilder("10").current("m.room.create"))


@deviation("What a power event rests on")
def test_a_power_event_rests_on_what_conflicted_events_lead_to() -> None:
    """Bob's ban rests on levels that all agree on, which rest on a membership that is in conflict.

    That membership is sorted by the mainline, so the later of the two stays; sorted with the ban, it would come first.
    """
    room = RoomBuilder("10")
    room.join(BOB)
    room.join(CAROL)
    room.power_levels({room.creator: 100, BOB: 50})
    before = dict(room.state)
    renamed = room.send(
        "m.room.member", room.creator, {"membership": "join"}, room.creator, ts=FIRST_TS + 9_000_000
    )
    levels = room.power_levels({room.creator: 100, BOB: 60})
    ban = room.ban(CAROL, BOB)
    other = room.fork()
    other.state = {**before, ("m.room.power_levels", ""): before["m.room.power_levels", ""]}
    earlier = other.send(
        "m.room.member", room.creator, {"membership": "join", "n": 1}, room.creator, ts=FIRST_TS + 8_000_000
    )
    other.state["m.room.power_levels", ""] = levels.event_id
    full_conflicted = {ban.event_id, renamed.event_id, earlier.event_id, before["m.room.member", CAROL]}
    ordered = power_ordered([ban.event_id], full_conflicted, room.events)
    assert renamed.event_id not in ordered
    assert ordered[-1] == ban.event_id
    state = resolve(room.version, [room.state, other.state], room.events)
    assert state["m.room.member", room.creator] == renamed.event_id


@deviation("Power that cannot be read")
def test_power_that_cannot_be_read_counts_as_none() -> None:
    """Before version 10 such power levels can be a room's first."""
    room = RoomBuilder("9", bare=True)
    room.create()
    room.join(room.creator)
    room.power_levels({room.creator: 100}, users_default="much")
    room.join_rules("public")
    other = room.fork()
    by_creator = room.send(
        "m.room.join_rules", room.creator, {"join_rule": "invite"}, "", ts=FIRST_TS + 9_000_000
    )
    by_bob = other.send("m.room.join_rules", BOB, {"join_rule": "knock"}, "", ts=FIRST_TS)
    conflicted = {by_creator.event_id, by_bob.event_id}
    assert power_ordered(conflicted, conflicted, room.events) == [by_creator.event_id, by_bob.event_id]


@deviation("In version 1 a missing key is no conflict")
def test_version_1_lets_a_lone_entry_stand() -> None:
    """Although the room is closed on the other side."""
    room = RoomBuilder("1")
    other = room.fork()
    room.join_rules("invite")
    joined = other.join(BOB)
    state = resolve(room.version, [room.state, other.state], room.events)
    assert state["m.room.member", BOB] == joined.event_id
