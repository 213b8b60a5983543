"""Commands of a join: register, confirm-join, reconcile."""

from contextlib import aclosing
from enum import StrEnum
from typing import Annotated

import typer

from partialstate.cli.exit_codes import ExitCode
from partialstate.cli.input_files import InputFile, read_bytes
from partialstate.cli.inputs import MAX_INTEGER, held_room, read_event, read_json_lines
from partialstate.cli.json_shapes import shape
from partialstate.cli.rooms_commands import Generation, Room, current_generation
from partialstate.cli.session import Session, command
from partialstate.consistency import StateToken
from partialstate.joins import PartialJoin, ResyncPriority
from partialstate.reconciliation import ReconciledRoom


class PriorityChoice(StrEnum):
    """How urgent a resync is."""

    NORMAL = "normal"
    USER_WAITING = "user_waiting"


def add_joins_commands(app: typer.Typer) -> None:
    """Add the commands to *app*."""
    command(app, "register")(register)
    command(app, "confirm-join")(confirm_join)
    command(app, "reconcile")(reconcile)


async def register(
    session: Session,
    response: Annotated[
        InputFile,
        typer.Argument(
            parser=InputFile, metavar="RESPONSE", help="The saved body of the send_join response; - is stdin."
        ),
    ],
    join_event: Annotated[
        InputFile,
        typer.Option(parser=InputFile, metavar="FILE", help="The join event as it was sent (JSON)."),
    ],
    room_version: Annotated[str, typer.Option(help="The room's version, as make_join gave it.")],
    via: Annotated[str, typer.Option(metavar="SERVER", help="The server that answered send_join.")],
    room: Annotated[str | None, typer.Option(help="The room's id. (default: that of the join event)")] = None,
    omit_members_requested: Annotated[
        bool, typer.Option(help="Whether the request had omit_members=true.")
    ] = True,
    device_list_position: Annotated[
        int | None,
        typer.Option(
            min=-MAX_INTEGER, max=MAX_INTEGER, help="The homeserver's device-list position at the join."
        ),
    ] = None,
    priority: Annotated[
        PriorityChoice, typer.Option(case_sensitive=False, help="How urgent the resync is.")
    ] = PriorityChoice.NORMAL,
) -> None:
    """Make a room partial, from a saved send_join response."""
    room_of_event, event_bytes = read_event(join_event)
    join = PartialJoin(
        room_id=room or room_of_event,
        room_version=room_version,
        join_event=event_bytes,
        joined_via=via,
        omit_members_requested=omit_members_requested,
        device_list_position=device_list_position,
        priority=ResyncPriority[priority.name],
    )
    registration = await session.client.register_partial_join(join, read_bytes(response))
    ending = f" ({registration.ending})" if registration.ending else ""
    session.output.result(
        shape(registration),
        f"{join.room_id}: {registration.outcome}{ending}, generation {registration.generation}, "
        f"join event {registration.join_event_id}",
    )


async def confirm_join(session: Session, room: Room, generation: Generation = None) -> None:
    """Say that the join event is persisted."""
    meant = await current_generation(session, room, generation)
    token = await session.client.confirm_join(room, meant)
    session.output.result({"generation": meant, "state_token": token}, f"{room}: the join is confirmed")


async def reconcile(
    session: Session,
    rooms: Annotated[
        InputFile,
        typer.Argument(
            parser=InputFile,
            metavar="ROOMS",
            help="The rooms that the homeserver holds as partial: a file with one JSON value per line, a room id or "
            "an object (room_id, room_version, join_event, joined_via, servers, non_member_state, partial_events, "
            "device_list_position); empty: none. - is stdin.",
        ),
    ],
    token: Annotated[
        str | None,
        typer.Option(
            help="The state_token of `rooms --json` before the homeserver listed its rooms. (default: now)"
        ),
    ] = None,
) -> ExitCode:
    """Compare the homeserver's partial rooms with the registry; registers unknown ones, releases none.

    Exits with 8 if one of them could not be registered, or not with all its events.
    """
    state_token = StateToken(token) if token else await _token_now(session)
    held = [held_room(value, where) for where, value in read_json_lines(rooms)]
    found = await session.client.reconcile_rooms(state_token, held)
    exit_code = ExitCode.INVALID if found.failed else ExitCode.OK
    if session.output.as_json:
        session.output.json_line(shape(found))
        return exit_code
    session.output.text(f"{found.agreed_count} rooms agree")
    _list_rooms(session, "registered now", found.registered)
    for failed in found.failed:
        session.output.text(f"cannot be registered: {failed.room_id}: {failed.reason}: {failed.message}")
    _list_rooms(session, "not held by the homeserver (release or confirm it)", found.unknown_to_homeserver)
    _list_rooms(session, "ended here (import it again or purge it)", found.ended)
    return exit_code


async def _token_now(session: Session) -> StateToken:
    async with aclosing(session.client.list_partial_rooms(page_size=1)) as pages:
        return (await anext(pages)).state_token


def _list_rooms(session: Session, title: str, rooms: tuple[ReconciledRoom, ...]) -> None:
    for room in rooms:
        confirmed = "" if room.join_confirmed else ", join not confirmed"
        ending = f", {room.ending}" if room.ending else ""
        session.output.text(f"{title}: {room.room_id}, generation {room.generation}{confirmed}{ending}")
