"""Ids are what the specification allows, without what could steer a terminal."""

import pytest
from partialstate_service.domain.ids import (
    InvalidIdError,
    parse_event_id,
    parse_room_id,
    parse_user_id,
)

# Escape, bell, delete, and the control sequence introducer that is one character.
STEERING = ["\x1b[2J", "\x07", "\x7f", "\x9b31m"]


@pytest.mark.parametrize("text", [*STEERING, "\udc80", "\x00", " ", "\x85"])
@pytest.mark.parametrize(("parse", "sigil"), [(parse_room_id, "!"), (parse_event_id, "$")])
def test_room_and_event_ids_have_no_control_characters(parse, sigil, text):
    with pytest.raises(InvalidIdError) as refused:
        parse(f"{sigil}a{text}b")
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    ("parse", "text"),
    [(parse_room_id, "!räume/+:a.example"), (parse_event_id, "$é+/_-"), (parse_event_id, "$1:a.example")],
)
def test_otherwise_room_and_event_ids_are_opaque(parse, text):
    assert parse(text) == text


@pytest.mark.parametrize("text", STEERING)
def test_users_of_old_servers_may_have_any_names_that_are_shown_escaped(text):
    assert parse_user_id(f"@{text}:a.example") == f"@{text}:a.example"
    with pytest.raises(InvalidIdError) as refused:
        parse_user_id(f"@{text}")
    assert str(refused.value).isprintable()
