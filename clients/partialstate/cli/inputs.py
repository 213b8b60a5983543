"""JSON that was typed or is in a file, as the API takes it."""

import json
from collections.abc import Iterator
from typing import Any

from partialstate.checks import Candidate
from partialstate.cli.input_files import InputError, InputFile, read_text, require_unicode
from partialstate.events import Pdu, event_json
from partialstate.reconciliation import HeldRoom
from partialstate.recording import PartialEvent, ProvisionalVerdict, SentEvent

MAX_INTEGER = 2**63 - 1
"""The largest number that the API carries."""


def read_event(file: InputFile) -> tuple[str, bytes]:
    """Return the event in a file as the API takes it, after the room that it names."""
    event = _object(_parse(read_text(file), file.described), file.described)
    return _text(event, "room_id", file.described), _event_json(event, file.described)


def read_json_lines(file: InputFile) -> Iterator[tuple[str, Any]]:
    """Yield the values of a file with one JSON value per line, each with the words for where it stands."""
    for number, line in enumerate(read_text(file).split("\n"), 1):
        if line.strip():
            where = f"{file.described}, line {number}"
            yield where, _parse(line, where)


def partial_event(value: Any, where: str, default: ProvisionalVerdict) -> PartialEvent:
    """Return a partial event: an event, or `{"pdu", "event_id", "provisional_verdict", "non_member_state_after"}`."""
    content = _object(value, where)
    if "pdu" not in content:
        return PartialEvent(pdu(content, where), default)
    _known(content, {"pdu", "event_id", "provisional_verdict", "non_member_state_after"}, where)
    verdict = str(content.get("provisional_verdict", default)).upper()
    if verdict not in ProvisionalVerdict.__members__:
        raise InputError(f"{where}: provisional_verdict must be ACCEPTED or REJECTED")
    return PartialEvent(
        pdu(content, where),
        ProvisionalVerdict[verdict],
        tuple(
            pdu(event, f"{where}: non_member_state_after")
            for event in _list(content, "non_member_state_after", where)
        ),
    )


def pdu(value: Any, where: str) -> Pdu:
    """Return an event: itself, or `{"pdu", "event_id"}`."""
    content = _object(value, where)
    if "pdu" in content:
        return Pdu(
            _event_json(_object(content["pdu"], f"{where}: pdu"), where), _text(content, "event_id", where)
        )
    # Room versions 1 and 2 have the id in the event; later ones compute it.
    has_id = isinstance(content.get("event_id"), str)
    return Pdu(_event_json(content, where), _text(content, "event_id", where) if has_id else "")


def sent_event(value: Any, where: str) -> SentEvent:
    """Return a sent event, `{"event_id", "destinations"}`."""
    content = _object(value, where)
    _known(content, {"event_id", "destinations"}, where)
    return SentEvent(_text(content, "event_id", where), _texts(content, "destinations", where))


def candidate(value: Any, where: str) -> Candidate:
    """Return a candidate, `{"event_id", "sender", "history_visibility"}`."""
    content = _object(value, where)
    _known(content, {"event_id", "sender", "history_visibility"}, where)
    event_id, sender, visibility = (
        _text(content, name, where) for name in ("event_id", "sender", "history_visibility")
    )
    return Candidate(event_id, sender, visibility)


def held_room(value: Any, where: str) -> HeldRoom:
    """Return a room that the homeserver holds: its id, or an object with the fields of `HeldRoom`."""
    if isinstance(value, str):
        return HeldRoom(require_unicode(value, f"{where}: the room's id"))
    content = _object(value, where)
    _known(content, set(HeldRoom.__dataclass_fields__), where)
    position = content.get("device_list_position")
    if position is not None and (type(position) is not int or abs(position) > MAX_INTEGER):
        raise InputError(f"{where}: device_list_position must be an integer of 64 bits")
    join_event = content.get("join_event")
    return HeldRoom(
        room_id=_text(content, "room_id", where),
        room_version=_text(content, "room_version", where),
        join_event=b""
        if join_event is None
        else _event_json(_object(join_event, f"{where}: join_event"), where),
        joined_via=_text(content, "joined_via", where),
        servers=_texts(content, "servers", where),
        non_member_state=tuple(
            pdu(event, f"{where}: non_member_state") for event in _list(content, "non_member_state", where)
        ),
        partial_events=tuple(
            partial_event(event, f"{where}: partial_events", ProvisionalVerdict.ACCEPTED)
            for event in _list(content, "partial_events", where)
        ),
        device_list_position=position,
    )


def _parse(text: str, where: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=lambda pairs: _distinct(pairs, where))
    except json.JSONDecodeError as error:
        # A line of JSON lines has no further ones.
        line = f"line {error.lineno}, " if "\n" in text.strip() else ""
        raise InputError(f"{where}: not JSON: {error.msg} ({line}column {error.colno})") from error
    except ValueError as error:  # Python reads none of more than some thousand digits
        raise InputError(f"{where}: a number is too long") from error
    except RecursionError as error:
        raise InputError(f"{where}: nested too deeply") from error


def _distinct(pairs: list[tuple[str, Any]], where: str) -> dict[str, Any]:
    """Return an object; which of two equal names counts, readers of JSON do not agree on."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{where}: {json.dumps(twice)} is there twice in one object")
    return found


def _event_json(event: dict[str, Any], where: str) -> bytes:
    try:
        return event_json(event)
    except ValueError as error:
        raise InputError(f"{where}: a number is not finite: JSON has no such") from error
    except RecursionError as error:
        raise InputError(f"{where}: nested too deeply") from error


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{where}: must be a JSON object")
    return value


def _known(content: dict[str, Any], names: set[str], where: str) -> None:
    if unknown := sorted(content.keys() - names):
        raise InputError(f"{where}: unknown: {', '.join(unknown)}; known: {', '.join(sorted(names))}")


def _text(content: dict[str, Any], name: str, where: str) -> str:
    value = content.get(name, "")
    if not isinstance(value, str):
        raise InputError(f"{where}: {name} must be a text")
    return require_unicode(value, f"{where}: {name}")


def _list(content: dict[str, Any], name: str, where: str) -> list[Any]:
    value = content.get(name, [])
    if not isinstance(value, list):
        raise InputError(f"{where}: {name} must be a list")
    return value


def _texts(content: dict[str, Any], name: str, where: str) -> tuple[str, ...]:
    values = _list(content, name, where)
    if not all(isinstance(value, str) for value in values):
        raise InputError(f"{where}: {name} must be a list of texts")
    return tuple(require_unicode(value, f"{where}: {name}") for value in values)
