"""Random rooms: DAGs with forks and merges in which users fight over power, and not all play by the rules.

A room is made from a seed alone. What happens is chosen from `room_moves` and `room_provocations`; what each server believes while it happens
is our own replay, so that events are plausible where they are not deliberately wrong. Whether the replay is right is
for others to say: the judge, or the properties of the replay.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from partialstate_service.domain.ids import EventId
from partialstate_service.matrix.event import Event
from partialstate_service.matrix.event_auth import AuthRule
from partialstate_service.matrix.replay import Replay, Replayed
from partialstate_service.matrix.state_res import resolve
from support.room_moves import MOVES, first_events
from support.room_provocations import PROVOCATIONS
from support.room_scene import Draft, Scene
from support.rooms import RoomBuilder

CREATOR = "@creator:a.example"
_ALL_MOVES = [*MOVES, *PROVOCATIONS]
_WEIGHTS = [move.weight for move in _ALL_MOVES]
SERVERS = ("a.example", "b.example", "c.example", "d.example")


@dataclass
class RandomRoom:
    """What came out: the events in an order in which prev events come first, and our own verdicts."""

    version: str
    seed: int
    events: list[Event]
    outliers: list[Event]
    replay: Replay
    outcomes: dict[EventId, Replayed] = field(default_factory=dict)
    # Whether some merge had to choose between different events for the same slot of the state.
    conflicts: int = 0

    @property
    def rejections(self) -> list[AuthRule]:
        """The rules that rejected events, one entry per event."""
        return [outcome.rejection.rule for outcome in self.outcomes.values() if outcome.rejection]


def random_room(version: str, seed: int, *, size: int, users: int = 10, branches: int = 4) -> RandomRoom:
    """Make a room of *size* events after its first ones, with up to *branches* ends at a time."""
    return _Maker(version, seed, users, branches).make(size)


class _Maker:
    def __init__(self, version: str, seed: int, users: int, branches: int) -> None:
        self._rng = Random(f"{version} {seed}")
        self._branches = branches
        self._builder = RoomBuilder(version, creator=CREATOR, bare=True)
        foreign = RoomBuilder(version, creator=CREATOR, room_name="elsewhere", first_number=100_000)
        self._people = [CREATOR, *(f"@u{i}:{SERVERS[i % len(SERVERS)]}" for i in range(users))]
        for user in self._people[1:]:
            foreign.join(user)
        events = dict(foreign.events)
        self._replay = Replay(self._builder.version, events, frozenset())
        self._room = RandomRoom(version, seed, [], list(foreign.events.values()), self._replay)
        self._scene = Scene(self._rng, self._builder, self._people, foreign)
        self._ends: list[EventId] = []
        self._rejected: set[EventId] = set()
        self._clock = 1_700_000_000_000

    def make(self, size: int) -> RandomRoom:
        for first in first_events(self._scene):
            self._scene.look(self._state_before(self._ends))
            self._play(first, self._ends)
        for _ in range(size):
            prevs = self._choose_prevs()
            self._scene.look(self._state_before(prevs))
            if (draft := self._choose_draft()) is not None:
                self._play(draft, prevs)
        return self._room

    def _choose_prevs(self) -> list[EventId]:
        dice = self._rng.random()
        if dice < 0.15 and len(self._ends) > 1:
            count = self._rng.randint(2, len(self._ends))
            return sorted(self._rng.sample(self._ends, count))
        if dice < 0.35 and len(self._ends) < self._branches:
            # A fork: after an event that others have gone on from.
            recent = self._room.events[-12:]
            return [self._rng.choice(recent).event_id]
        return [self._rng.choice(self._ends)]

    def _choose_draft(self) -> Draft | None:
        for _ in range(20):
            move = self._rng.choices(_ALL_MOVES, _WEIGHTS)[0]
            draft: Draft | None = move.draft(self._scene)
            if draft is not None:
                return draft
        return None

    def _play(self, draft: Draft, prevs: Sequence[EventId]) -> None:
        self._clock += self._rng.choice((0, 0, 1, 1000, 60_000, -5_000))
        fields: dict[str, Any] = dict(draft.fields)
        if self._rng.random() < 0.05:
            fields.setdefault("depth", self._rng.randint(1, 30))
        chosen = prevs if draft.prevs is None else draft.prevs
        event = self._builder.build(
            draft.kind,
            draft.sender,
            draft.content,
            draft.state_key,
            prev=chosen,
            auth=draft.auth(self._scene) if draft.auth else None,
            ts=self._clock,
            **fields,
        )
        if event.type == "m.room.create" and not self._room.events:
            self._builder.room_id = event.room_id
        self._builder.events[event.event_id] = event
        self._room.conflicts += self._is_conflict(chosen)
        self._replay.add(event)
        for outcome in self._replay.advance():
            self._room.outcomes[outcome.event_id] = outcome
            if outcome.rejection is not None:
                self._rejected.add(outcome.event_id)
            self._scene.note(event, accepted=outcome.rejection is None)
        self._room.events.append(event)
        if draft.prevs is None:
            self._ends = [*(end for end in self._ends if end not in chosen), event.event_id]

    def _state_before(self, prevs: Sequence[EventId]) -> dict[tuple[str, str], Event]:
        states = [self._replay.state_after(prev) for prev in prevs]
        state = resolve(self._builder.version, states, self._builder.events, self._rejected) if states else {}
        self._builder.state = dict(state)
        return {key: self._builder.events[event_id] for key, event_id in state.items()}

    def _is_conflict(self, prevs: Sequence[EventId]) -> bool:
        states = [self._replay.state_after(prev) for prev in prevs]
        keys = {key for state in states for key in state}
        return any(len({state[key] for state in states if key in state}) > 1 for key in keys)
