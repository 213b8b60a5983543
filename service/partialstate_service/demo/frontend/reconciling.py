"""Telling the service which rooms are held as partial: at the start, and whenever its store has forgotten them."""

from partialstate import Ending, PartialEvent, ProvisionalVerdict, Reconciliation, ReleaseReason, event_json
from partialstate import HeldRoom as HeldRoomDescription

from partialstate_service.demo.frontend.held_room import HeldRoom
from partialstate_service.demo.frontend.homeserver import Homeserver
from partialstate_service.demo.frontend.persisting import pdu_of
from partialstate_service.domain.ids import RoomId


async def reconcile(homeserver: Homeserver) -> Reconciliation:
    """Compare the partial rooms that are held with the service's, and settle the differences."""
    # The token comes before our own list: a room that is registered in between is no difference.
    page = await anext(homeserver.service.list_partial_rooms())
    held = [_described(room) for room in homeserver.rooms.values() if room.is_partial]
    differences = await homeserver.service.reconcile_rooms(page.state_token, held)
    for room in differences.registered:
        # The service had forgotten it. What it recovers now has a generation of its own, and is imported from the start.
        homeserver.rooms[RoomId(room.room_id)].generation = room.generation
    for room in differences.ended:
        # It ended, but the answer to our ConfirmImport was lost.
        ours = homeserver.rooms[RoomId(room.room_id)]
        if room.ending is Ending.IMPORTED and not ours.partial_events:
            ours.generation = 0
    for room in differences.unknown_to_homeserver:
        # A join that we registered and never persisted. One that we confirmed is an operator's to look at.
        if not room.join_confirmed:
            reason = ReleaseReason.JOIN_FAILED
            await homeserver.service.release_room(room.room_id, room.generation, reason)
    return differences


def _described(room: HeldRoom) -> HeldRoomDescription:
    """Return all that the service needs in order to take over a room that it does not know."""
    state = [event_id for (kind, _), event_id in room.current_state().items() if kind != "m.room.member"]
    later = [
        event_id
        for event_id in room.before
        if event_id in room.partial_events and event_id != room.join_event_id
    ]
    return HeldRoomDescription(
        room_id=room.room_id,
        room_version=room.version.version,
        join_event=event_json(room.events[room.join_event_id].raw),
        joined_via=room.joined_via,
        servers=tuple(sorted(room.servers_at_join)),
        non_member_state=tuple(pdu_of(room.events[id_]) for id_ in {*state, *room.auth_chain(state)}),
        partial_events=tuple(
            PartialEvent(
                pdu_of(room.events[event_id]),
                ProvisionalVerdict.REJECTED if event_id in room.rejected else ProvisionalVerdict.ACCEPTED,
            )
            for event_id in later
        ),
    )
