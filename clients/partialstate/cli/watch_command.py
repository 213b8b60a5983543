"""The command watch."""

from contextlib import aclosing
from typing import Annotated

import typer

from partialstate.changes import Bookmark, Change, RoomChanged
from partialstate.cli import json_shapes
from partialstate.cli.resync_view import ResyncView
from partialstate.cli.session import Session, command
from partialstate.consistency import StateToken
from partialstate.errors import ListAgainError


def add_watch_command(app: typer.Typer) -> None:
    """Add the command to *app*."""
    command(app, "watch")(watch)


async def watch(
    session: Session,
    room: Annotated[str, typer.Option(help="Only this room.")] = "",
    after: Annotated[
        str | None,
        typer.Option(
            metavar="TOKEN",
            help="Go on after this state_token. (default: list the rooms first, and again where that is needed)",
        ),
    ] = None,
) -> None:
    """Watch the rooms as they change: progress bars on a terminal, else a line per change. Ends with Ctrl-C."""
    with ResyncView(session.output) as view:
        if after is not None:
            await _watch(session, view, StateToken(after), room)
            return
        while True:
            token = await _list(session, view, room)
            try:
                await _watch(session, view, token, room)
            except ListAgainError:
                continue
            return


async def _list(session: Session, view: ResyncView, room_id: str) -> StateToken:
    token = StateToken("")
    async with aclosing(session.client.list_partial_rooms(page_size=1000)) as pages:
        async for page in pages:
            token = token or page.state_token
            for room in page.rooms:
                if room_id in {"", room.room_id}:
                    _show(session, view, RoomChanged(token, room), listed=True)
    session.output.flush()
    return token


async def _watch(session: Session, view: ResyncView, after: StateToken, room_id: str) -> None:
    changes = session.client.watch(after, room_id=room_id)
    async with aclosing(changes):
        async for change in changes:
            _show(session, view, change)
            session.output.flush()


def _show(session: Session, view: ResyncView, change: Change, *, listed: bool = False) -> None:
    if session.output.as_json:
        session.output.json_line(json_shapes.change(change, listed=listed))
    elif not isinstance(change, Bookmark):
        view.show(change)
