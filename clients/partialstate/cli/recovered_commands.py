"""Commands on the recovered state: state, ack, confirm-import."""

from contextlib import aclosing
from typing import Annotated

import typer

from partialstate.cli.json_shapes import shape
from partialstate.cli.record_lines import record_lines
from partialstate.cli.rooms_commands import Generation, Room, current_generation
from partialstate.cli.session import Session, command
from partialstate.recovered_state import LogEnd

Position = Annotated[int, typer.Option(min=0, help="A position in the log, as `state` printed it.")]


def add_recovered_commands(app: typer.Typer) -> None:
    """Add the commands to *app*."""
    command(app, "state")(state)
    command(app, "ack")(ack)
    command(app, "confirm-import")(confirm_import)


async def state(
    session: Session,
    room: Room,
    generation: Generation = None,
    after: Annotated[int, typer.Option(min=0, metavar="POSITION", help="Only what lies beyond it.")] = 0,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on as the log grows, until the room's partial state ends.")
    ] = False,
) -> None:
    """Print the recovered state as JSON lines, the last one of kind `end`."""
    meant = await current_generation(session, room, generation)
    records = session.client.recovered_state(room, meant, after_position=after, follow=follow)
    async with aclosing(records):
        async for record in records:
            for line in record_lines(record):
                session.output.json_line(line)
            if isinstance(record, LogEnd):
                session.output.flush()


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
