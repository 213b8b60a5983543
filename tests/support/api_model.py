"""A model of one room as the API tells of it: `room_model.RoomModel`, with the errors and the answers of each call."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from partialstate_service.domain.rooms import Ending, RoomStatus
from support.linearizability import Call
from support.room_model import RoomModel

UNKNOWN = -1
"""The number of a generation whose call lost its answer, until an answer names it."""

NOT_PARTIAL = ("ROOM_NOT_PARTIAL",)
STALE = ("STALE_GENERATION",)
OK = ("OK",)


@dataclass
class ApiModel(RoomModel):
    """The room, the ledger of its sent events, and the tombstones; each `answer_` makes the call of its name and returns the answer."""

    generations: dict[str, int] = field(default_factory=dict, repr=False)
    """Of every join, as far as any answer names it: given from outside, and never changed."""
    origin_servers: frozenset[str] = frozenset()
    """The servers that a send_join response, or the homeserver, names."""
    world_readable: bool = False
    servers: set[str] = field(default_factory=set)
    verified: bool = False
    sent: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    past: set[int] = field(default_factory=set)
    """The generations that the room has had."""

    def __deepcopy__(self, memo: Any) -> "ApiModel":
        copy = object.__new__(ApiModel)
        for name, value in self.__dict__.items():
            if name in ("generations", "origin_servers"):
                copied = value
            elif name == "sent":
                copied = defaultdict(set, {event: set(servers) for event, servers in value.items()})
            else:
                copied = value.copy() if isinstance(value, dict | set | list) else value
            copy.__dict__[name] = copied
        return copy

    def apply(self, call: Call) -> bool:
        """See `linearizability.Model`."""
        if call.answer is not None:
            self._learn(call.answer)
        answer: tuple[Any, ...] = getattr(self, f"answer_{call.name}")(*call.arguments)
        return call.answer is None or call.answer == answer

    def _learn(self, answer: tuple[Any, ...]) -> None:
        named = dict(part for part in answer if isinstance(part, tuple) and part[:1] == ("generation",))
        generation = named.get("generation")
        if self.partial and self.generation == UNKNOWN and generation not in {None, 0, *self._known()}:
            self._bind(generation)

    def _bind(self, generation: int) -> None:
        self.generation = generation
        self.past.add(generation)
        if self.joins[self.join] == UNKNOWN:
            self.joins[self.join] = generation

    def _known(self) -> set[int]:
        return {*self.generations.values(), *self.past, *self.ended_generations}

    def _is(self, generation: int) -> bool:
        """Whether the room is partial with this generation."""
        if self.partial and self.generation == UNKNOWN and generation not in self._known():
            self._bind(generation)
        return self.partial and self.generation == generation

    def _not_current(self, generation: int) -> tuple[str]:
        return STALE if self.partial else NOT_PARTIAL

    # --- the homeserver's calls

    def answer_register_partial_join(self, join: str) -> tuple[Any, ...]:
        outcome = self._register(join)
        generation, ending = self.ended.get(join, (self.joins.get(join), None))
        return outcome, ("generation", generation), ending

    def _register(self, join: str) -> str:
        was_partial, number = self.partial, self.generations.get(join, UNKNOWN)
        outcome = self.register(join, number)
        if outcome == "REGISTERED":
            self.past.add(number)
            self.verified = False
            if not was_partial:
                self.servers, self.sent = set(), defaultdict(set)
            self.servers |= self.origin_servers
        return outcome

    def answer_confirm_join(self, generation: int) -> tuple[Any, ...]:
        if self._is(generation):
            self.confirmed.add(self.join)
            return OK
        named = [join for join, given in self.joins.items() if given == generation] if self.partial else []
        self.confirmed.update(named)
        if named or self.ended_generations.get(generation) in {Ending.IMPORTED, Ending.PURGED}:
            return OK
        return self._not_current(generation)

    def answer_record_partial_event(self, event: str, prevs: tuple[str, ...]) -> tuple[Any, ...]:
        outcome = self.record(event, list(prevs))
        return outcome, ("generation", self.generation if self.partial else 0)

    def answer_record_sent_event(self, event: str, destination: str) -> tuple[Any, ...]:
        if self.partial:
            self.sent[event].add(destination)
        return (self.partial,)

    def answer_release_room(self, generation: int, reason: str) -> tuple[Any, ...]:
        if not self._is(generation):
            return OK if generation in self.ended_generations else self._not_current(generation)
        if reason == "LEFT":
            self.leave()
        elif reason == "PURGED":
            self.purge()
        elif not self.fail(UNKNOWN):
            return ("JOIN_CONFIRMED",)
        return OK

    def answer_retry_resync(self, server: str) -> tuple[Any, ...]:
        if not self.partial:
            return NOT_PARTIAL
        if self.status is RoomStatus.ABANDONED:
            return ("ROOM_ABANDONED",)
        self.servers.add(server)
        return OK

    def answer_reconcile_named(self, join: str) -> tuple[Any, ...]:
        if self.partial and join in self.order:
            if join in self.joins:
                self.confirmed.add(join)
            return ("held",)
        if join in self.ended:
            generation, ending = self.ended[join]
            return "ended", ("generation", generation), ending
        self._register(join)
        self.confirmed.add(join)
        return ("held",)

    def answer_reconcile_unnamed(self, listed_at: int) -> tuple[Any, ...]:
        if not self.partial or self.generation > listed_at or self.generation == UNKNOWN:
            return ("no difference",)
        return "unknown", ("generation", self.generation), self.join in self.confirmed

    def answer_ack_import(self, generation: int, position: int) -> tuple[Any, ...]:
        if not self._is(generation):
            if self.ended_generations.get(generation) == Ending.IMPORTED:
                return "OK", position
            return self._not_current(generation)
        return ("OK", self.acknowledged) if self.acknowledge(position) else ("POSITION_OUT_OF_RANGE",)

    def answer_confirm_import(self, generation: int, position: int) -> tuple[Any, ...]:
        if not self._is(generation):
            if self.ended_generations.get(generation) == Ending.IMPORTED:
                return OK
            return self._not_current(generation)
        if self.status is RoomStatus.ABANDONED:
            return ("ROOM_ABANDONED",)
        return OK if self.confirm_import(position) else ("IMPORT_INCOMPLETE",)

    # --- what it, and others, read

    def answer_get_partial_room(self) -> tuple[Any, ...]:
        if not self.partial:
            return NOT_PARTIAL
        return (
            ("generation", self.generation),
            *(self.status.name, self.join, self.join in self.confirmed, self.verified),
            *(len(self.pending), self.unimported, self.position, self.acknowledged),
            tuple(sorted(self.servers)),
        )

    def answer_get_destinations(self) -> tuple[Any, ...]:
        if not self.partial:
            return NOT_PARTIAL
        return ("generation", self.generation), tuple(sorted(self.servers))

    def answer_check(self) -> tuple[Any, ...]:
        """Whether the room is partial, as a verdict shows it."""
        return self.partial, ("generation", self.generation if self.partial else 0)

    def answer_check_history(self) -> tuple[Any, ...]:
        """The same, by an endpoint that answers for a room whose verified state says that all may read it."""
        return *self.answer_check(), self.partial and self.verified and self.world_readable

    def answer_check_sent(self, event: str, origin: str) -> tuple[Any, ...]:
        """Whether the ledger says that an event was sent, which is read after the room is."""
        return (self.partial and origin in self.sent.get(event, ()),)

    # --- a worker's

    def answer_mark_verified(self, generation: int) -> tuple[Any, ...]:
        if not self._is(generation) or self.status is RoomStatus.ABANDONED:
            return ("LEASE_LOST",)
        self.verified = True
        return OK

    def answer_append_log(self, generation: int, events: tuple[str, ...]) -> tuple[Any, ...]:
        if not self._is(generation) or self.status is RoomStatus.ABANDONED:
            return ("LEASE_LOST",)
        self.resolve(list(events))
        return "OK", self.position
