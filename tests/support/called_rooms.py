"""Rooms that clients call the API about, with what they know of them and what they were told."""

import random
from collections import defaultdict
from dataclasses import dataclass, field

from partialstate_service.domain.ids import RoomId
from partialstate_service.matrix.event import Event
from support.linearizability import Call
from support.send_joins import US, SentJoin, sent_join

JOINS, EVENTS = 3, 6


@dataclass
class Room:
    """A room with all events that may become of it, and what the clients know of it."""

    joins: list[SentJoin]
    events: list[Event]
    world_readable: bool
    calls: list[Call] = field(default_factory=list)
    generations: list[int] = field(default_factory=list)
    """Those that answers named, of whatever join."""
    named: defaultdict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    """The generations that answers about a join named for it."""

    @property
    def room_id(self) -> RoomId:
        return self.joins[0].room_id

    @property
    def join_generations(self) -> dict[str, int]:
        """The generation of each join that answers named; they all named the same."""
        assert all(len(generations) == 1 for generations in self.named.values()), self.named
        return {join: generation for join, [generation] in self.named.items()}

    def state(self) -> list[Event]:
        return [event for event in self.joins[0].room.events.values() if event.type in _NON_MEMBER]


_NON_MEMBER = {
    "m.room.create",
    "m.room.power_levels",
    "m.room.join_rules",
    "m.room.history_visibility",
}


def random_room(rng: random.Random) -> Room:
    """Return a room that our users can join several times, with events after any of the joins and of each other."""
    world_readable = rng.random() < 0.5
    first = sent_join(visibility="world_readable" if world_readable else "shared")
    joins = [first]
    for number in range(1, JOINS):
        join = first.room.join(f"@user{number}:{US}")
        joins.append(SentJoin(first.room, join, {**first.response, "event": dict(join.raw)}))
    events: list[Event] = []
    for number in range(EVENTS):
        before = [join.join for join in joins] + events
        prevs = [event.event_id for event in rng.sample(before, rng.randint(1, 2))]
        content = {"msgtype": "m.text", "body": str(number)}
        events.append(first.room.send("m.room.message", "@bob:b.example", content, prev=prevs))
    return Room(joins, events, world_readable)
