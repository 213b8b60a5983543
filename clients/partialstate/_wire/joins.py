"""Registrations, recorded events and reconciliations."""

from partialstate._wire import names, words
from partialstate.joins import PartialJoin, Registration
from partialstate.reconciliation import HeldRoom, ReconciledRoom, Reconciliation, UnregistrableRoom
from partialstate.recording import IncomingEvent, IncomingVerdict, PartialEvent, RecordedEvents, SentEvent
from partialstate.v1 import rooms_service_pb2 as pb


def header_message(join: PartialJoin) -> pb.RegisterPartialJoinRequest:
    """Return the first message of a registration."""
    header = pb.RegisterPartialJoinHeader(
        room_id=join.room_id,
        room_version=join.room_version,
        join_event=join.join_event,
        joined_via=join.joined_via,
        omit_members_requested=join.omit_members_requested,
        optional_device_list_position=join.device_list_position,
        priority=pb.ResyncPriority.ValueType(names.PRIORITIES.number(join.priority)),
    )
    return pb.RegisterPartialJoinRequest(header=header)


def registration(message: pb.RegisterPartialJoinResponse) -> Registration:
    """Return what a registration came to."""
    ended = message.HasField("optional_ending")
    return Registration(
        generation=message.generation,
        outcome=names.REGISTRATION_OUTCOMES.name(message.outcome),
        ending=names.ENDINGS.name(message.optional_ending) if ended else None,
        join_event_id=message.join_event_id,
        state_token=words.token(message.state_token),
    )


def partial_event_message(event: PartialEvent) -> pb.PartialEvent:
    """Return the message of a partial event."""
    return pb.PartialEvent(
        pdu=words.pdu_message(event.pdu),
        provisional_verdict=pb.ProvisionalVerdict.ValueType(
            names.PROVISIONAL_VERDICTS.number(event.provisional_verdict)
        ),
        non_member_state_after=map(words.pdu_message, event.non_member_state_after),
    )


def recorded(message: pb.RecordPartialEventsResponse) -> RecordedEvents:
    """Return what became of recorded events."""
    return RecordedEvents(
        outcomes=names.RECORD_OUTCOMES.names(message.outcomes),
        generation=message.generation,
        state_token=words.token(message.state_token),
    )


def incoming_event_message(event: IncomingEvent) -> pb.AuthoriseIncomingEventRequest:
    """Return the message of an event that came in."""
    return pb.AuthoriseIncomingEventRequest(
        room_id=event.room_id,
        pdu=words.pdu_message(event.pdu),
        state_before=map(words.entry_message, event.state_before),
        events=map(words.pdu_message, event.events),
        rejected_event_ids=event.rejected_event_ids,
    )


def incoming_verdict(message: pb.AuthoriseIncomingEventResponse) -> IncomingVerdict:
    """Return the provisional verdict on an event."""
    return IncomingVerdict(
        provisional_verdict=names.PROVISIONAL_VERDICTS.name(message.provisional_verdict),
        rejecting_rule=message.rejecting_rule,
        rejection=message.rejection,
        event_id=message.event_id,
        generation=message.generation,
    )


def sent_event_message(event: SentEvent) -> pb.SentEvent:
    """Return the message of a sent event."""
    return pb.SentEvent(event_id=event.event_id, destinations=event.destinations)


def held_room_message(room: HeldRoom) -> pb.ReconcileRoomsRequest:
    """Return a message of a reconciliation."""
    held = pb.HeldRoom(
        room_id=room.room_id,
        room_version=room.room_version,
        join_event=room.join_event,
        joined_via=room.joined_via,
        servers=room.servers,
        non_member_state=map(words.pdu_message, room.non_member_state),
        partial_events=map(partial_event_message, room.partial_events),
        optional_device_list_position=room.device_list_position,
    )
    return pb.ReconcileRoomsRequest(room=held)


def reconciliation(message: pb.ReconcileRoomsResponse) -> Reconciliation:
    """Return the differences."""
    return Reconciliation(
        registered=tuple(map(_reconciled, message.registered)),
        failed=tuple(UnregistrableRoom(room.room_id, room.reason, room.message) for room in message.failed),
        unknown_to_homeserver=tuple(map(_reconciled, message.unknown_to_homeserver)),
        ended=tuple(map(_reconciled, message.ended)),
        agreed_count=message.agreed_count,
        state_token=words.token(message.state_token),
    )


def _reconciled(message: pb.ReconciledRoom) -> ReconciledRoom:
    ended = message.HasField("optional_ending")
    return ReconciledRoom(
        room_id=message.room_id,
        generation=message.generation,
        join_confirmed=message.join_confirmed,
        ending=names.ENDINGS.name(message.optional_ending) if ended else None,
    )
