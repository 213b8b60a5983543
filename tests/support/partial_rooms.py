"""A room that we joined partially, and the replay of what came after."""

from partialstate_service.domain.ids import EventId
from partialstate_service.matrix.event import Event
from partialstate_service.matrix.replay import Replay, Replayed
from support.rooms import RoomBuilder

CHARLIE, DEREK, ELSIE = "@charlie:c.example", "@derek:d.example", "@elsie:e.example"
US = "@us:our.example"


class PartialRoom:
    """A room that we joined partially: what was before our join, and what came after it."""

    def __init__(self, version: str = "10", levels: dict[str, int] | None = None) -> None:
        self.builder = RoomBuilder(version, creator=CHARLIE)
        self.builder.join(DEREK)
        creators = {} if self.builder.version.privileged_creators else {CHARLIE: 100}
        self.builder.power_levels({**creators, **(levels or {})})

    def join(self) -> Event:
        """Let us join; the replay begins with what is held at that time."""
        before = self.builder.head
        assert before is not None
        self.before = before
        self.state_before_join = dict(self.builder.state)
        self.held = dict(self.builder.events)
        our_join = self.builder.join(US)
        self.replay = Replay(self.builder.version, self.held, frozenset())
        self.replay.add(our_join)
        return our_join

    def advance(self) -> dict[EventId, Replayed]:
        """Replay what can be."""
        return {replayed.event_id: replayed for replayed in self.replay.advance()}

    def recover(self) -> dict[EventId, Replayed]:
        """Supply the state before our join, as a resync does, and replay."""
        self.replay.supply_state_after(self.before, self.state_before_join)
        return self.advance()


def accepted(outcomes: dict[EventId, Replayed]) -> set[EventId]:
    """Return the events that were accepted."""
    return {event_id for event_id, outcome in outcomes.items() if outcome.rejection is None}
