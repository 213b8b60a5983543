"""Whatever an event holds, authorising it ends with a verdict; what a state holds, too."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from partialstate_service.matrix.event import Event
from partialstate_service.matrix.event_auth import (
    AuthRejectionError,
    auth_state_keys,
    check_auth,
    check_auth_events,
)
from partialstate_service.matrix.room_versions import ROOM_VERSIONS
from support.rooms import CREATOR, RoomBuilder

BOB = "@bob:b.example"
ROOMS = {version: RoomBuilder(version) for version in ROOM_VERSIONS}
NAMES = [
    *("membership", "third_party_invite", "join_authorised_via_users_server", "signed", "mxid", "token"),
    *("signatures", "public_key", "public_keys", "users", "events", "notifications", "users_default", "ban"),
    *("join_rule", "creator", "additional_creators", "room_version", "m.federate", BOB, CREATOR, "ed25519:1"),
]
VALUES = ["join", "invite", "leave", "ban", "knock", "restricted", "public", "50", "1", "12", BOB, CREATOR]
TYPES = [
    *("m.room.create", "m.room.member", "m.room.power_levels", "m.room.join_rules", "m.room.redaction"),
    *("m.room.third_party_invite", "m.room.aliases", "m.room.message"),
]

values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(VALUES) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=8,
)
contents = st.dictionaries(st.sampled_from(NAMES), values, max_size=5)


def with_content(event: Event, kind: str, state_key: str | None, content: dict[str, Any]) -> Event:
    """Return the event with other fields, which no parser has looked at."""
    return replace(
        event, type=kind, state_key=state_key, content=content, raw={**event.raw, "content": content}
    )


@pytest.mark.parametrize("version", ROOM_VERSIONS)
@given(
    kind=st.sampled_from(TYPES),
    state_key=st.sampled_from([None, "", BOB, CREATOR, "token", "@"]),
    content=contents,
    sender=st.sampled_from([BOB, CREATOR]),
    changed=st.dictionaries(st.sampled_from(TYPES), contents, max_size=3),
)
def test_every_event_gets_a_verdict(
    version: str,
    kind: str,
    state_key: str | None,
    content: dict[str, Any],
    sender: str,
    changed: dict[str, dict[str, Any]],
) -> None:
    """Neither the content of the event nor that of the state raises anything but a rejection."""
    room = ROOMS[version]
    event = with_content(room.build("m.room.message", sender, {}), kind, state_key, content)
    state = room.full_state
    for name, other in changed.items():
        key = (name, CREATOR if name == "m.room.member" else "")
        state[key] = with_content(state.get(key, event), name, key[1], other)
    try:
        check_auth(event, state)
        check_auth_events(event, [state[key] for key in auth_state_keys(event) if key in state], ())
    except AuthRejectionError as rejection:
        assert rejection.rule.name in str(rejection)  # noqa: PT017 - a verdict, and one that can be told


def test_a_rule_says_where_it_is_written() -> None:
    """The reference of a rejection leads to the specification."""
    room = ROOMS["11"]
    with pytest.raises(AuthRejectionError) as rejection:
        check_auth(room.build("m.room.message", BOB, {}), room.full_state)
    assert rejection.value.rule.reference == "https://spec.matrix.org/v1.19/rooms/v12/#authorization-rules, 6"
