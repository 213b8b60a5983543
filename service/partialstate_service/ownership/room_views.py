"""Rooms of the registry as decisions see them; what is costly to parse is parsed once."""

from collections import OrderedDict

from partialstate_service.domain.acl import ServerAcl, parse_server_acl
from partialstate_service.domain.checks import RoomView
from partialstate_service.domain.ids import RoomId
from partialstate_service.domain.rooms import PartialRoom, StateSummary

_MAX_KEPT = 10_000


class RoomViews:
    """Turns rooms into views, and keeps the last ones: a room changes far less often than it is asked about."""

    def __init__(self) -> None:
        self._kept = OrderedDict[RoomId, tuple[PartialRoom, RoomView]]()

    def view(self, room: PartialRoom) -> RoomView:
        """Return *room* as a decision sees it."""
        kept = self._kept.get(room.room_id)
        if kept is not None and kept[0] is room:
            return kept[1]
        view = RoomView(
            room_id=room.room_id,
            generation=room.generation,
            verified=room.state_verified,
            acls=self._acls(room.summary, kept),
            join_rules=tuple(_join_rule(content.get("join_rule")) for content in room.summary.join_rules),
            history_visibilities=room.summary.history_visibilities,
        )
        self._kept[room.room_id] = room, view
        self._kept.move_to_end(room.room_id)
        if len(self._kept) > _MAX_KEPT:
            self._kept.popitem(last=False)
        return view

    @staticmethod
    def _acls(summary: StateSummary, kept: tuple[PartialRoom, RoomView] | None) -> tuple[ServerAcl, ...]:
        # Progress and recorded events change a room many times while its ACLs stay what they are.
        if kept is not None and kept[0].summary.acls == summary.acls:
            return kept[1].acls
        return tuple(parse_server_acl(content) for content in summary.acls)


def _join_rule(value: object) -> str:
    """Return the rule; what is no text is an unknown rule, and counts as closed."""
    return value if isinstance(value, str) else ""
