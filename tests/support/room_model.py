"""A model of one room in the registry, simple enough to be believed: what `protocol.Registry` says, in plain Python."""

from dataclasses import dataclass, field

from partialstate_service.domain.rooms import Ending, RoomStatus


@dataclass
class RoomModel:
    """One room and the tombstones of its joins."""

    revision: int = 0
    partial: bool = False
    status: RoomStatus = RoomStatus.RESYNCING
    generation: int = 0
    join: str = ""
    joins: dict[str, int] = field(default_factory=dict)
    """Of the present life: join event, generation."""
    left: set[str] = field(default_factory=set)
    """Joins after which the room was left."""
    confirmed: set[str] = field(default_factory=set)
    ended: dict[str, tuple[int, Ending]] = field(default_factory=dict)
    ended_generations: dict[int, Ending] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    resolved: dict[str, int] = field(default_factory=dict)
    full: set[str] = field(default_factory=set)
    position: int = 0
    acknowledged: int = 0

    @property
    def pending(self) -> list[str]:
        return [event for event in self.order if event not in self.resolved]

    @property
    def unimported(self) -> int:
        return sum(self.resolved.get(event, 1 << 60) > self.acknowledged for event in self.order)

    @property
    def is_due(self) -> bool:
        return self.partial and self.status is RoomStatus.RESYNCING

    def register(self, join: str, generation: int) -> str:
        """*generation* is what the registry gave if it registered."""
        if self.partial and join in self.joins:
            return "ALREADY_REGISTERED"
        if join in self.ended:
            return "ENDED"
        if self.partial and self.status is RoomStatus.ABANDONED:
            self.left.add(self.join)
        if not self.partial:
            self.order, self.joins, self.left, self.confirmed = [], {}, set(), set()
        self.partial, self.status, self.join, self.generation = True, RoomStatus.RESYNCING, join, generation
        self.joins[join] = generation
        self.order.append(join)
        self._restart_log()
        return "REGISTERED"

    def record(self, event: str, prevs: list[str]) -> str:
        if not self.partial:
            return "ROOM_NOT_PARTIAL"
        if event in self.order:
            return "RECORDED"
        if event in self.full or (prevs and all(map(self._is_imported, prevs))):
            self.full.add(event)
            return "EVENT_NOT_PARTIAL"
        self.order.append(event)
        if self.status is not RoomStatus.ABANDONED:
            self.status = RoomStatus.RESYNCING
        return "RECORDED"

    def resolve(self, events: list[str]) -> None:
        """A worker appends one record and marks the events."""
        self.position += 1
        for event in events:
            if event in self.order:
                self.resolved.setdefault(event, self.position)
        if not self.pending:
            self.status = RoomStatus.AWAITING_IMPORT

    def acknowledge(self, position: int) -> bool:
        if not self.partial or position > self.position:
            return False
        self.acknowledged = max(self.acknowledged, position)
        return True

    def confirm_join(self) -> None:
        self.confirmed.add(self.join)

    def confirm_import(self, position: int) -> bool:
        ready = self.partial and self.status is RoomStatus.AWAITING_IMPORT and position == self.position
        if ready:
            self._end(Ending.IMPORTED)
        return ready

    def leave(self) -> None:
        self.status = RoomStatus.ABANDONED

    def purge(self) -> None:
        self._end(Ending.PURGED)

    def fail(self, generation: int) -> bool:
        """The join has failed; *generation* is the one that the room has afterwards, if it stays."""
        if self.join in self.confirmed:
            return False
        earlier = [join for join in self.joins if join != self.join]
        if not earlier:
            self._end(Ending.JOIN_FAILED)
            return True
        own = self.joins.pop(self.join)
        self.ended[self.join] = (own, Ending.JOIN_FAILED)
        self.ended_generations |= dict.fromkeys((own, self.generation), Ending.JOIN_FAILED)
        self.order.remove(self.join)
        self.join, self.generation = max(earlier, key=self.joins.__getitem__), generation
        self.status = RoomStatus.ABANDONED if self.join in self.left else RoomStatus.RESYNCING
        self._restart_log()
        return True

    def _is_imported(self, event: str) -> bool:
        return event in self.full or self.resolved.get(event, 1 << 60) <= self.acknowledged

    def _restart_log(self) -> None:
        self.resolved, self.full, self.position, self.acknowledged = {}, set(), 0, 0

    def _end(self, ending: Ending) -> None:
        self.partial = False
        for join, generation in self.joins.items():
            self.ended[join] = (generation, ending)
            self.ended_generations[generation] = ending
        self.ended_generations[self.generation] = ending
