"""What other servers ask our homeserver in the demo, and what they must get."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any
from urllib.parse import quote

from partialstate_service.demo.summary import Asked
from partialstate_service.demo.x_matrix import PeerResponse, SignedClient
from partialstate_service.domain.ids import EventId, RoomId, ServerName

UNABLE = "403 ORG.MATRIX.MSC3895_UNABLE_DUE_TO_PARTIAL_STATE"


@dataclass(frozen=True, slots=True)
class Inquiry:
    """One request, and the answer that it must get."""

    shown: str
    """The request in words."""
    method: str
    uri: str
    expected: str
    """The status; for an error with its code after a blank."""
    content: dict[str, Any] | None = None
    is_right: Callable[[Any], bool] = lambda _: True
    """Whether the JSON of a 200 is what it must be."""


def inquiries_while_partial(room_id: RoomId, join: EventId, sent: EventId, user: str) -> Sequence[Inquiry]:
    """Return what a server of the room asks while the room is partial: *sent* is an event that we sent to it."""
    room, path = _quoted(room_id), "/_matrix/federation/v1"
    gap = {"latest_events": [sent], "earliest_events": [], "limit": 10}
    return (
        Inquiry("state_ids at our join", "GET", f"{path}/state_ids/{room}?event_id={_quoted(join)}", UNABLE),
        Inquiry("state at our join", "GET", f"{path}/state/{room}?event_id={_quoted(join)}", UNABLE),
        Inquiry(
            "event_auth of an event that we sent",
            "GET",
            f"{path}/event_auth/{room}/{_quoted(sent)}",
            "200",
            is_right=lambda body: "m.room.create" in {event["type"] for event in body["auth_chain"]},
        ),
        Inquiry(
            "event: the event that we sent",
            "GET",
            f"{path}/event/{_quoted(sent)}",
            "200",
            is_right=lambda body: len(body["pdus"]) == 1,
        ),
        Inquiry("event_auth of our join", "GET", f"{path}/event_auth/{room}/{_quoted(join)}", UNABLE),
        Inquiry(
            "get_missing_events before it",
            "POST",
            f"{path}/get_missing_events/{room}",
            "200",
            gap,
            is_right=lambda body: isinstance(body["events"], list),
        ),
        Inquiry("make_join", "GET", f"{path}/make_join/{room}/{_quoted(user)}?ver=11", "404 M_NOT_FOUND"),
    )


def inquiry_of_the_denied(room_id: RoomId, join: EventId) -> Inquiry:
    """Return what a server asks that the room's ACL denies."""
    uri = f"/_matrix/federation/v1/state_ids/{_quoted(room_id)}?event_id={_quoted(join)}"
    return Inquiry("state_ids at our join", "GET", uri, "403 M_FORBIDDEN")


def inquiries_when_full(room_id: RoomId, sent: EventId, user: str, state: set[EventId]) -> Sequence[Inquiry]:
    """Return what is asked once the room is full; *state* is the true state before *sent*."""
    room, path = _quoted(room_id), "/_matrix/federation/v1"
    return (
        Inquiry(
            "state_ids at the event that we sent",
            "GET",
            f"{path}/state_ids/{room}?event_id={_quoted(sent)}",
            "200",
            is_right=lambda body: len(body["pdu_ids"]) == len(state) and set(body["pdu_ids"]) == state,
        ),
        Inquiry("make_join", "GET", f"{path}/make_join/{room}/{_quoted(user)}?ver=11", "200"),
    )


async def ask(
    client: SignedClient, destination: ServerName, inquiry: Inquiry, *, phase: str, by: str
) -> Asked:
    """Send one request and compare what comes back with what must."""
    began = perf_counter()
    answer = await client.request(inquiry.method, destination, inquiry.uri, inquiry.content)
    ms = (perf_counter() - began) * 1000
    got = shown_answer(answer)
    right = got == inquiry.expected and (answer.errcode is not None or inquiry.is_right(answer.json))
    return Asked(phase, inquiry.shown, by, inquiry.expected, got, round(ms, 2), right)


def shown_answer(answer: PeerResponse) -> str:
    """Return the status and, for an error, its code."""
    return f"{answer.status} {answer.errcode or ''}".rstrip()


def _quoted(text: str) -> str:
    return quote(text, safe="")
