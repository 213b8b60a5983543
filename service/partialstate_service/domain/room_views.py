"""What decisions read of a room in the registry, with its ACLs parsed once and not at every check."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from partialstate_service.domain.acl import parse_server_acl
from partialstate_service.domain.checks import RoomView
from partialstate_service.domain.ids import RoomId
from partialstate_service.domain.rooms import PartialRoom

_MAX_KEPT = 10_000


def room_view(room: PartialRoom) -> RoomView:
    """Return what decisions read of *room*; a join rule that is no string counts as closed."""
    return RoomView(
        room_id=room.room_id,
        generation=room.generation,
        verified=room.state_verified,
        acls=tuple(map(parse_server_acl, room.summary.acls)),
        join_rules=tuple(map(_join_rule, room.summary.join_rules)),
        history_visibilities=room.summary.history_visibilities,
    )


@dataclass(slots=True)
class RoomViews:
    """Views of rooms, each made once per state of its room; keeps at most 10,000."""

    _kept: dict[RoomId, tuple[PartialRoom, RoomView]] = field(default_factory=dict, init=False)

    def of(self, room: PartialRoom) -> RoomView:
        """Return the view of *room*. The registry replaces a changed room, so the same object has the same view."""
        kept = self._kept.get(room.room_id)
        if kept is not None and kept[0] is room:
            return kept[1]
        if len(self._kept) >= _MAX_KEPT:
            self._kept.clear()
        view = room_view(room)
        self._kept[room.room_id] = (room, view)
        return view


def _join_rule(content: Mapping[str, Any]) -> str:
    rule = content.get("join_rule")
    return rule if isinstance(rule, str) else ""
