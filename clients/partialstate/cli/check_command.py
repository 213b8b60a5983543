"""The command check."""

from typing import Annotated

import typer

from partialstate._calls.checks import decision_without_service
from partialstate.checks import CheckRequest, Decision
from partialstate.cli import json_shapes
from partialstate.cli.exit_codes import ExitCode, of_verdict
from partialstate.cli.input_files import InputError, InputFile
from partialstate.cli.inputs import candidate, read_json_lines
from partialstate.cli.session import Session, command
from partialstate.consistency import AtLeastAsFresh, BoundedStaleness, Consistency, StateToken
from partialstate.endpoints import Endpoint
from partialstate.errors import NoAnswerError

_PANEL = "Restricted joins"


def add_check_command(app: typer.Typer) -> None:
    """Add the command to *app*."""
    command(app, "check")(check)


async def check(
    session: Session,
    endpoint: Annotated[
        Endpoint,
        typer.Option(case_sensitive=False, metavar="NAME", help="Which endpoint, such as state_ids."),
    ],
    origin: Annotated[str, typer.Option(metavar="SERVER", help="The server that asks.")],
    room: Annotated[str, typer.Option(help="The room that the request names.")] = "",
    event: Annotated[list[str] | None, typer.Option(help="An event that it names; repeatable.")] = None,
    user: Annotated[str, typer.Option(help="The user that it names.")] = "",
    candidates: Annotated[
        InputFile | None,
        typer.Option(
            parser=InputFile,
            metavar="FILE",
            help="For get_missing_events and backfill, the events of the walk: one JSON object per line, {event_id, "
            "sender, history_visibility}. - is stdin.",
        ),
    ] = None,
    allow_room: Annotated[
        list[str] | None,
        typer.Option(help="A room whose members the join rule allows; repeatable.", rich_help_panel=_PANEL),
    ] = None,
    user_in_a_full_allow_room: Annotated[
        bool | None,
        typer.Option(help="Whether the user is in an allow room that is full here.", rich_help_panel=_PANEL),
    ] = None,
    user_invited_or_joined: Annotated[
        bool | None,
        typer.Option(help="Whether the user is invited to or joined in the room.", rich_help_panel=_PANEL),
    ] = None,
    can_issue_invite: Annotated[
        bool | None,
        typer.Option(help="Whether a local user may issue the invite.", rich_help_panel=_PANEL),
    ] = None,
    at_least_as_fresh: Annotated[
        str | None, typer.Option(metavar="TOKEN", help="Decide on this state_token or later.")
    ] = None,
    max_staleness: Annotated[
        float | None,
        typer.Option(min=0.0, max=60.0, metavar="SECONDS", help="Decide on a registry at most this old."),
    ] = None,
) -> ExitCode:
    """Ask whether a federation request can be answered; the exit code tells the verdict.

    Without an answer (exit code 7) what is printed is what the frontend does then. A check that is itself refused (6, 8, 9)
    is no decision either: nothing is printed, and the standard error says why.
    """
    found = (
        ()
        if candidates is None
        else (candidate(value, where) for where, value in read_json_lines(candidates))
    )
    request = CheckRequest(
        endpoint=endpoint,
        origin=origin,
        room_id=room,
        event_ids=tuple(event or ()),
        user_id=user,
        candidates=tuple(found),
        allow_room_ids=tuple(allow_room or ()),
        user_in_a_full_allow_room=user_in_a_full_allow_room,
        user_invited_or_joined=user_invited_or_joined,
        can_issue_invite=can_issue_invite,
        consistency=_consistency(at_least_as_fresh, max_staleness),
    )
    try:
        decision = await session.client.check(request)
    except NoAnswerError as error:
        _print(session, decision_without_service(request, error))
        raise
    _print(session, decision)
    return of_verdict(decision.verdict)


def _print(session: Session, decision: Decision) -> None:
    session.output.result(json_shapes.decision(decision), _text(decision))
    session.output.flush()


def _consistency(token: str | None, max_staleness_s: float | None) -> Consistency | None:
    if token is not None and max_staleness_s is not None:
        raise InputError("give --at-least-as-fresh or --max-staleness, not both")
    if token is not None:
        return AtLeastAsFresh(StateToken(token))
    return None if max_staleness_s is None else BoundedStaleness(max_staleness_s)


def _text(decision: Decision) -> str:
    generation = f" (generation {decision.generation})" if decision.generation else ""
    lines = [f"{decision.verdict}: {decision.reason}{generation}"]
    if (error := decision.error) is not None:
        lines.append(f"answer {error.http_status} {error.errcode}: {error.error}")
    if (error := decision.error_instead_of_forbidden) is not None:
        lines.append(f"instead of your own refusal: {error.http_status} {error.errcode}: {error.error}")
    if decision.visible_event_ids:
        lines.append("show " + " ".join(decision.visible_event_ids))
    if decision.walk_from_event_ids:
        lines.append("walk from " + " ".join(decision.walk_from_event_ids))
    return "\n".join(lines)
