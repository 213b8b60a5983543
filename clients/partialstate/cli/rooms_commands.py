"""Commands on the rooms of the registry: rooms, room, destinations, retry, release."""

from contextlib import aclosing
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

import typer

from partialstate.changes import Bookmark, RoomChanged, RoomEnded
from partialstate.cli import json_shapes
from partialstate.cli.inputs import MAX_INTEGER
from partialstate.cli.json_shapes import shape
from partialstate.cli.resync_view import ResyncView, age_text, moment_text, progress_text
from partialstate.cli.session import Session, command
from partialstate.errors import RoomNotPartialError
from partialstate.joins import ReleaseReason
from partialstate.rooms import PartialRoom, RoomSnapshot, RoomStatus

Room = Annotated[str, typer.Argument(metavar="ROOM", help="The room's id (quote it: '!a:b').")]
Generation = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=MAX_INTEGER,
        help="The generation that is meant. (default: the current one, or else the last)",
    ),
]


class StatusChoice(StrEnum):
    """The statuses that a list can be restricted to."""

    RESYNCING = "resyncing"
    STALLED = "stalled"
    AWAITING_IMPORT = "awaiting_import"
    ABANDONED = "abandoned"


class ReleaseChoice(StrEnum):
    """Why a room is released."""

    LEFT = "left"
    PURGED = "purged"
    JOIN_FAILED = "join_failed"


def add_rooms_commands(app: typer.Typer) -> None:
    """Add the commands to *app*."""
    command(app, "rooms")(rooms)
    command(app, "room")(room)
    command(app, "destinations")(destinations)
    command(app, "retry")(retry)
    command(app, "release")(release)


async def current_generation(session: Session, room_id: str, given: int | None) -> int:
    """Return the generation that is meant: of a room that is not partial any more the last, so that repeating is safe."""
    if given is not None:
        return given
    try:
        return (await session.client.get_partial_room(room_id)).room.generation
    except RoomNotPartialError as error:
        if not error.last_generation:
            raise
        return error.last_generation


async def rooms(
    session: Session,
    status: Annotated[
        list[StatusChoice] | None,
        typer.Option(case_sensitive=False, help="Only rooms of this status; repeatable."),
    ] = None,
) -> None:
    """List the partial rooms."""
    statuses = [RoomStatus[choice.name] for choice in status or ()]
    found: list[PartialRoom] = []
    token = None
    async with aclosing(session.client.list_partial_rooms(statuses=statuses, page_size=1000)) as pages:
        async for page in pages:
            token = token or page.state_token
            found.extend(page.rooms)
    if session.output.as_json:
        session.output.json_line({"rooms": shape(found), "state_token": token})
        return
    if not found:
        session.output.text("no partial rooms")
        return
    now = datetime.now(UTC)
    session.output.table(
        ("ROOM", "GENERATION", "STATUS", "AGE", "PENDING", "PROGRESS"),
        (
            (
                room.room_id,
                room.generation,
                room.status,
                age_text(room.registered_at, now),
                room.pending_event_count,
                progress_text(room),
            )
            for room in found
        ),
    )


async def room(
    session: Session,
    room: Room,
    follow: Annotated[
        bool,
        typer.Option(
            "--follow",
            help="Show the resync until it is over: the room awaits its import, is abandoned, or ended.",
        ),
    ] = False,
) -> None:
    """Show a partial room and its resync."""
    snapshot = await session.client.get_partial_room(room)
    if follow:
        await _follow(session, snapshot)
    elif session.output.as_json:
        session.output.json_line(shape(snapshot))
    else:
        _show(session, snapshot.room)


async def _follow(session: Session, snapshot: RoomSnapshot) -> None:
    first = RoomChanged(snapshot.state_token, snapshot.room)
    changes = session.client.watch(snapshot.state_token, room_id=snapshot.room.room_id)
    with ResyncView(session.output) as view:
        if session.output.as_json:
            session.output.json_line(json_shapes.change(first, listed=True))
            session.output.flush()
        else:
            view.show(first)
        if _is_over(first):
            return
        async with aclosing(changes):
            async for change in changes:
                if session.output.as_json:
                    session.output.json_line(json_shapes.change(change))
                    session.output.flush()
                elif not isinstance(change, Bookmark):
                    view.show(change)
                if not isinstance(change, Bookmark) and _is_over(change):
                    return


def _is_over(change: RoomChanged | RoomEnded) -> bool:
    return isinstance(change, RoomEnded) or change.room.status in {
        RoomStatus.AWAITING_IMPORT,
        RoomStatus.ABANDONED,
    }


def _show(session: Session, room: PartialRoom) -> None:
    resync = room.resync
    facts: dict[str, object] = {
        "room": f"{room.room_id} (version {room.room_version})",
        "generation": room.generation,
        "status": room.status,
        "resync": progress_text(room) or "-",
        "attempts": resync.attempt_count,
        "registered": moment_text(room.registered_at),
        "join": f"{room.join_event_id} via {room.joined_via or '?'}"
        + ("" if room.join_confirmed else ", not confirmed"),
        "state verified": "yes" if room.state_verified else "not yet",
        "partial events": f"{room.pending_event_count} without state, {room.unimported_event_count} not imported",
        "log position": f"{room.log_position}, acknowledged {room.acknowledged_position}",
        "servers": len(room.servers),
    }
    if resync.last_failure:
        facts["last failure"] = resync.last_failure
    for number, finding in enumerate(resync.findings, start=1):
        facts[f"finding {number}"] = finding
    if resync.unverified_event_ids:
        facts["unverified"] = ", ".join(resync.unverified_event_ids)
    if resync.left_out_event_ids:
        facts["left out"] = ", ".join(resync.left_out_event_ids)
    session.output.facts(facts)
    if resync.servers:
        session.output.text("")
        session.output.table(
            ("SERVER", "LAST OUTCOME", "AT", "NOT BEFORE", "DETAIL"),
            (
                (s.server_name, s.outcome, moment_text(s.at), moment_text(s.cooldown_until), s.detail)
                for s in resync.servers
            ),
        )


async def destinations(session: Session, room: Room) -> None:
    """List the servers that events of a partial room must be sent to."""
    found = await session.client.get_destinations(room)
    session.output.result(shape(found), "\n".join(found.servers))


async def retry(
    session: Session,
    room: Room,
    server: Annotated[
        list[str] | None, typer.Option(help="A server to ask beside those known; repeatable.")
    ] = None,
) -> None:
    """Try a room's resync again now; one that awaits its import has nothing to retry."""
    snapshot = await session.client.retry_resync(room, additional_servers=server or ())
    if snapshot.room.status is RoomStatus.AWAITING_IMPORT:
        text = f"{room}: nothing to retry: the state is recovered, and awaits its import"
    else:
        text = f"{room}: the next attempt is due now"
    session.output.result(shape(snapshot), text)


async def release(
    session: Session,
    room: Room,
    reason: Annotated[
        ReleaseChoice,
        typer.Option(
            case_sensitive=False,
            help="left: no local user is in it any more; purged: the homeserver holds no event of it; "
            "join_failed: no event of the join was persisted.",
        ),
    ],
    generation: Generation = None,
) -> None:
    """End the homeserver's interest in a room, at once."""
    meant = await current_generation(session, room, generation)
    token = await session.client.release_room(room, meant, ReleaseReason[reason.name])
    session.output.result({"generation": meant, "state_token": token}, f"{room}: released ({reason})")
