"""ReconcileRooms: compares what the homeserver holds as partial with the registry, and loses no room of either."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from partialstate_service.domain.errors import ForeignTokenError, NotReconciledError, RoomNotPartialError
from partialstate_service.domain.ids import Generation, RoomId, ServerName
from partialstate_service.domain.rooms import Ending, PartialRoom, Priority, RoomStatus, StateToken, Tombstone
from partialstate_service.matrix.event import Event
from partialstate_service.matrix.room_versions import RoomVersion
from partialstate_service.ownership.given_events import parse_given, summarise, supported_version
from partialstate_service.ownership.recording import GivenPartialEvent, GivenPdu, read_partial_events
from partialstate_service.ownership.refusals import InputFlaw, RefusedInputError, require_at_most
from partialstate_service.ownership.registration import put_seeds, recorded, seed_pieces
from partialstate_service.ownership.send_join import require_our_join
from partialstate_service.store.protocol import Bulk, PartialJoin, Registered, RegistrationOutcome, Registry

MAX_HELD_ROOMS = 100_000
MAX_HELD_STATE = 50_000
_RECORDED_AT_ONCE = 500
_PAGE = 1000
_EVERY_STATUS = frozenset(RoomStatus)


@dataclass(frozen=True, slots=True)
class HeldRoom:
    """A room that the homeserver holds as partial; without a join event (b"") it is only compared."""

    room_id: RoomId
    room_version: str
    join_event: bytes
    joined_via: ServerName | None = None
    servers: tuple[ServerName, ...] = ()
    non_member_state: Sequence[GivenPdu] = ()
    partial_events: Sequence[GivenPartialEvent] = ()
    device_list_position: int | None = None


@dataclass(frozen=True, slots=True)
class UnreadableRoom:
    """A room that the homeserver holds, of which something cannot be read."""

    room_id: RoomId
    error: RefusedInputError


@dataclass(frozen=True, slots=True)
class Difference:
    """One line of a difference."""

    room_id: RoomId
    generation: Generation
    join_confirmed: bool
    ending: Ending | None = None


@dataclass(slots=True)
class Differences:
    """What a reconciliation found, in both directions, and did. A room that is named twice is found once."""

    registered: list[Difference] = field(default_factory=list)
    failed: dict[RoomId, RefusedInputError] = field(default_factory=dict)
    unknown_to_homeserver: list[Difference] = field(default_factory=list)
    ended: dict[Difference, None] = field(default_factory=dict)
    """Their order is that in which they were found."""
    agreed: dict[RoomId, Generation] = field(default_factory=dict)
    """Those that were partial here when they were named; one that is named again after it was registered is among them."""

    def settled(self) -> dict[RoomId, Generation]:
        """Return the rooms that are partial here as far as was seen, and by which generation."""
        return {room.room_id: room.generation for room in self.registered} | self.agreed


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """Reconciles the registry with the homeserver *us*."""

    registry: Registry
    bulk: Bulk
    us: ServerName
    now_ms: Callable[[], int]

    async def reconcile(
        self, listed_at: StateToken, held: AsyncIterator[HeldRoom | UnreadableRoom]
    ) -> tuple[Differences, StateToken]:
        """Register what the registry lacks, report the rest, and let the store decide from then on.

        *listed_at* is the registry's token from before the homeserver listed its rooms. A room that could not be made
        partial keeps a store that has not decided yet from deciding: answering for it would leak. Raises
        ForeignToken for a token of another store, and where the store was wiped or lost changes meanwhile.
        """
        present = await self.registry.read_token()
        if listed_at.store_id != present.store_id or listed_at.revision > present.revision:
            raise ForeignTokenError(
                "the state token is of another store, or of a history that this one has lost"
            )
        found = Differences()
        named: set[RoomId] = set()
        all_partial = True
        async for room in held:
            named.add(room.room_id)
            require_at_most(MAX_HELD_ROOMS, len(named), "rooms")
            try:
                if isinstance(room, UnreadableRoom):
                    raise room.error
                await self._settle(room, found)
            except RefusedInputError as error:
                found.failed[room.room_id] = error
                all_partial = all_partial and await self._is_partial(room.room_id)
        before = await self.registry.read_token()
        settled = found.settled()
        async for known in self._all_rooms():
            settled.pop(known.room_id, None)
            # Generations are revisions: a greater one was registered after the homeserver began to list.
            if known.room_id not in named and known.generation <= listed_at.revision:
                found.unknown_to_homeserver.append(
                    Difference(known.room_id, known.generation, known.join_confirmed)
                )
        for room_id, generation in settled.items():
            await self._require_ended(room_id, generation)
        if all_partial:
            return found, await self.registry.mark_reconciled(before)
        return found, await self.registry.read_token()

    async def _settle(self, held: HeldRoom, found: Differences) -> None:
        """Make *held* partial here, with all its events, or note how its partial state ended."""
        if not held.join_event:
            await self._compare(held, found)
            return
        version = supported_version(held.room_version)
        join = require_our_join(
            parse_given(held.join_event, version, held.room_id, "room.join_event"), self.us
        )
        while (known := await self.registry.hold_join(held.room_id, join.event_id)) is None:
            registered = await self._register(held, version, join)
            if registered.outcome is RegistrationOutcome.REGISTERED:
                found.registered.append(Difference(held.room_id, registered.generation, join_confirmed=True))
                break
        if isinstance(known, Tombstone):
            ended = Difference(held.room_id, known.generation, join_confirmed=True, ending=known.ending)
            found.ended[ended] = None
            return
        if known is not None:
            found.agreed[held.room_id] = known
        await self._record(held, version)

    async def _compare(self, held: HeldRoom, found: Differences) -> None:
        """Agree on a room that is partial here, whatever its join."""
        room = await self._room(held.room_id)
        if room is None:
            # Not even one whose partial state ended: that may have been another join's.
            raise RefusedInputError(
                InputFlaw.INVALID_FIELD,
                "the room is not partial here: name it with its version and join event",
                field="room.join_event",
            )
        if held.partial_events:
            await self._record(held, supported_version(held.room_version))
        found.agreed[held.room_id] = room.generation

    async def _room(self, room_id: RoomId) -> PartialRoom | None:
        room, _ = await self.registry.find(room_id)
        return room

    async def _require_ended(self, room_id: RoomId, generation: Generation) -> None:
        """Raise ForeignToken unless a room that was partial a moment ago has ended since: else the store has lost it."""
        try:
            await self.registry.get(room_id)
        except RoomNotPartialError as error:
            if error.tombstone is not None and error.tombstone.generation >= generation:
                return
        except NotReconciledError:
            pass
        else:
            return
        raise ForeignTokenError("the store has lost changes of this reconciliation: begin it anew")

    async def _is_partial(self, room_id: RoomId) -> bool:
        return await self._room(room_id) is not None

    async def _register(self, held: HeldRoom, version: RoomVersion, join: Event) -> Registered:
        """Register a room that the registry does not know.

        Without servers or state it is registered all the same, so that checks refuse for it: it stays STALLED until
        RetryResync names a server.
        """
        require_at_most(MAX_HELD_STATE, len(held.non_member_state), "room.non_member_state")
        state = [
            parse_given(pdu.json, version, held.room_id, "room.non_member_state", pdu.event_id)
            for pdu in held.non_member_state
        ]
        return await self.registry.register(
            PartialJoin(
                room_id=held.room_id,
                room_version=version.version,
                join=recorded(join, accepted=True),
                joined_via=held.joined_via if held.joined_via != self.us else None,
                servers=self._candidates(held),
                summary=summarise(state),
                priority=Priority.NORMAL,
                device_list_position=held.device_list_position,
                confirmed=True,
            ),
            await put_seeds(self.bulk, held.room_id, seed_pieces(state)),
            self.now_ms(),
        )

    def _candidates(self, held: HeldRoom) -> tuple[ServerName, ...]:
        via = () if held.joined_via is None else (held.joined_via,)
        return tuple(sorted({*held.servers, *via} - {self.us}))

    async def _record(self, held: HeldRoom, version: RoomVersion) -> None:
        """Record the partial events that the homeserver holds; those known already stay as they are."""
        events = held.partial_events
        for start in range(0, len(events), _RECORDED_AT_ONCE):
            given = read_partial_events(
                held.room_id, version, events[start : start + _RECORDED_AT_ONCE], self.us
            )
            await self.registry.record_partial_events(
                held.room_id, given.events, self.now_ms(), given.servers_joined
            )

    async def _all_rooms(self) -> AsyncIterator[PartialRoom]:
        after: RoomId | None = None
        while True:
            rooms, after, _ = await self.registry.page(after, _PAGE, _EVERY_STATUS)
            for room in rooms:
                yield room
            if after is None:
                return
