"""What decisions read of a room in the registry."""

from dataclasses import replace

from partialstate_service.domain.ids import EventId, Generation, RoomId, ServerName
from partialstate_service.domain.rooms import PartialRoom, RoomStatus, StateSummary
from partialstate_service.ownership.room_views import RoomViews

ROOM = PartialRoom(
    room_id=RoomId("!r:x.example"),
    generation=Generation(3),
    status=RoomStatus.RESYNCING,
    room_version="10",
    join_event_id=EventId("$join"),
    joined_via=None,
    servers=(),
    join_confirmed=False,
    state_verified=True,
    registered_at_ms=0,
    summary=StateSummary(
        acls=({"allow": ["*"], "deny": ["bad.example"]}, {"allow": ["*"]}),
        join_rules=({"join_rule": "public"}, {"join_rule": 1}, {}),
        history_visibilities=("shared", "joined"),
    ),
)


def test_every_candidate_is_in_the_view() -> None:
    """Each candidate value is kept, and a malformed join rule is a closed one."""
    view = RoomViews().view(ROOM)
    assert (view.room_id, view.generation, view.verified) == (ROOM.room_id, 3, True)
    assert [acl.denies(ServerName("bad.example")) for acl in view.acls] == [True, False]
    assert view.join_rules == ("public", "", "")
    assert view.history_visibilities == ("shared", "joined")


def test_a_view_is_made_once_per_state_of_the_room() -> None:
    """The same room has the same view, a changed one a new one."""
    views = RoomViews()
    assert views.view(ROOM) is views.view(ROOM)
    changed = replace(ROOM, state_verified=False)
    assert views.view(changed).verified is False
    assert views.view(ROOM).verified is True
