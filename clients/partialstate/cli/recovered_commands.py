"""Commands on the recovered state: state, ack, confirm-import."""

from contextlib import aclosing
from typing import Annotated

import typer

from partialstate.cli.input_files import InputError
from partialstate.cli.inputs import MAX_INTEGER
from partialstate.cli.json_shapes import shape
from partialstate.cli.record_lines import record_lines
from partialstate.cli.rooms_commands import Generation, Room, current_generation
from partialstate.cli.session import Session, command
from partialstate.recovered_state import LogEnd
from partialstate.recovered_states import RecoveredStates

Position = Annotated[
    int, typer.Option(min=0, max=MAX_INTEGER, help="A position in the log, as `state` printed it.")
]


def add_recovered_commands(app: typer.Typer) -> None:
    """Add the commands to *app*."""
    command(app, "state")(state)
    command(app, "ack")(ack)
    command(app, "confirm-import")(confirm_import)


async def state(
    session: Session,
    room: Room,
    generation: Generation = None,
    after: Annotated[
        int, typer.Option(min=0, max=MAX_INTEGER, metavar="POSITION", help="Only what lies beyond it.")
    ] = 0,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on as the log grows, until the room's partial state ends.")
    ] = False,
    current: Annotated[
        bool, typer.Option("--current", help="Only the room's current state, whole: one line per slot.")
    ] = False,
) -> None:
    """Print the recovered state as JSON lines, the last one of kind `end`."""
    if current and (after or follow):
        raise InputError("--current is the whole of what there is: it goes with neither --after nor --follow")
    meant = await current_generation(session, room, generation)
    if current:
        await _print_current_state(session, room, meant)
        return
    records = session.client.recovered_state(room, meant, after_position=after, follow=follow)
    async with aclosing(records):
        async for record in records:
            for line in record_lines(record):
                session.output.json_line(line)
            if isinstance(record, LogEnd):
                session.output.flush()


async def _print_current_state(session: Session, room: str, generation: int) -> None:
    states = RecoveredStates()
    async with aclosing(session.client.recovered_state(room, generation)) as records:
        async for record in records:
            states.add(record)
            if isinstance(record, LogEnd):
                for (kind, state_key), event_id in sorted(states.current_state().items()):
                    session.output.json_line(_slot(kind, state_key, event_id))
                session.output.json_line({"record": "end", **shape(record)})


def _slot(kind: str, state_key: str, event_id: str) -> dict[str, str]:
    return {"record": "state", "type": kind, "state_key": state_key, "event_id": event_id}


async def ack(session: Session, room: Room, position: Position, generation: Generation = None) -> None:
    """Say that the recovered state is imported up to a position."""
    meant = await current_generation(session, room, generation)
    acknowledged = await session.client.ack_import(room, meant, position)
    text = f"{room}: imported up to {acknowledged.acknowledged_position}"
    session.output.result({"generation": meant, **shape(acknowledged)}, text)


async def confirm_import(
    session: Session, room: Room, position: Position, generation: Generation = None
) -> None:
    """End the partial state of a room whose recovered state is imported, up to the log's last position."""
    meant = await current_generation(session, room, generation)
    token = await session.client.confirm_import(room, meant, position)
    session.output.result({"generation": meant, "state_token": token}, f"{room}: the room is full")
