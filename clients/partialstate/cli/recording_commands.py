"""Commands that record events of a partial room: record, record-sent."""

from enum import StrEnum
from typing import Annotated

import typer

from partialstate.cli.input_files import InputError, InputFile
from partialstate.cli.inputs import partial_event, read_json_lines, sent_event
from partialstate.cli.json_shapes import shape
from partialstate.cli.rooms_commands import Room
from partialstate.cli.session import Session, command
from partialstate.recording import ProvisionalVerdict, SentEvent

_MOST_EVENTS = 500  # of one call


class ProvisionalChoice(StrEnum):
    """What the homeserver found of an event with partial state."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"


def add_recording_commands(app: typer.Typer) -> None:
    """Add the commands to *app*."""
    command(app, "record")(record)
    command(app, "record-sent")(record_sent)


async def record(
    session: Session,
    room: Room,
    events: Annotated[
        InputFile,
        typer.Argument(
            parser=InputFile,
            metavar="EVENTS",
            help="At most 500 events, oldest first: a file with one JSON object per line, an event or "
            "{pdu, event_id, provisional_verdict, non_member_state_after}. - is stdin.",
        ),
    ],
    verdict: Annotated[
        ProvisionalChoice,
        typer.Option(case_sensitive=False, help="The provisional verdict on events whose line has none."),
    ] = ProvisionalChoice.ACCEPTED,
) -> None:
    """Record events whose state was computed from partial state, before they are persisted."""
    default = ProvisionalVerdict[verdict.name]
    given = [partial_event(value, where, default) for where, value in read_json_lines(events)]
    _require_some(events.described, len(given))
    recorded = await session.client.record_partial_events(room, given)
    lines = (f"{number}: {outcome}" for number, outcome in enumerate(recorded.outcomes, 1))
    session.output.result(shape(recorded), "\n".join(lines))


async def record_sent(
    session: Session,
    room: Room,
    events: Annotated[
        InputFile | None,
        typer.Argument(
            parser=InputFile,
            metavar="[EVENTS]",
            help="At most 500 events: a file with one JSON object {event_id, destinations} per line. - is stdin.",
        ),
    ] = None,
    event: Annotated[list[str] | None, typer.Option(help="An event's id; repeatable.")] = None,
    to: Annotated[
        list[str] | None, typer.Option(metavar="SERVER", help="Where each --event goes; repeatable.")
    ] = None,
) -> None:
    """Record which events are about to be sent to which servers, before they are sent."""
    if bool(event) != bool(to) or (events is None) == (not event):
        raise InputError("give either a file of events, or --event with --to")
    if events is None:
        given = [SentEvent(event_id, tuple(to or ())) for event_id in event or ()]
    else:
        given = [sent_event(value, where) for where, value in read_json_lines(events)]
    _require_some(events.described if events else "--event", len(given))
    is_partial = await session.client.record_sent_events(room, given)
    text = (
        f"{len(given)} events recorded" if is_partial else "the room is not partial: nothing need be recorded"
    )
    session.output.result({"room_is_partial": is_partial}, text)


def _require_some(where: str, count: int) -> None:
    if not 0 < count <= _MOST_EVENTS:
        raise InputError(f"{where}: {count} events, where 1 to {_MOST_EVENTS} can be recorded at once")
