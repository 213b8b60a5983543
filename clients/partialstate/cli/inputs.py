"""Files of input; `-` is the standard input."""

import json
import sys
from collections.abc import Iterator
from typing import Any

from partialstate.checks import Candidate
from partialstate.events import Pdu, event_json
from partialstate.reconciliation import HeldRoom
from partialstate.recording import PartialEvent, ProvisionalVerdict, SentEvent

MAX_INTEGER = 2**63 - 1
"""The largest number that the API carries."""


class InputError(Exception):
    """An input is not as it must be; the text says which, and what is wrong."""


def read_bytes(path: str) -> bytes:
    """Return what a file holds."""
    try:
        if path == "-":
            return sys.stdin.buffer.read()
        with open(path, "rb") as file:  # noqa: PTH123 - the path is a person's, not ours
            return file.read()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error


def read_text(path: str) -> str:
    """Return what a file of text holds."""
    try:
        return read_bytes(path).decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not text in UTF-8") from error


def read_event(path: str) -> tuple[dict[str, Any], bytes]:
    """Return the event in a file, also as the API takes it."""
    event = _object(_parse(read_text(path), path), path)
    return event, _event_json(event, path)


def read_json_lines(path: str) -> Iterator[tuple[str, Any]]:
    """Yield the values of a file with one JSON value per line, each with the words for where it stands."""
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if line.strip():
            where = f"{path}, line {number}"
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
        tuple(pdu(event, where) for event in _list(content, "non_member_state_after", where)),
    )


def pdu(value: Any, where: str) -> Pdu:
    """Return an event: itself, or `{"pdu", "event_id"}`."""
    content = _object(value, where)
    if "pdu" in content:
        return Pdu(_event_json(_object(content["pdu"], where), where), _text(content, "event_id", where))
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
        return HeldRoom(_unicode(value, "the room's id", where))
    content = _object(value, where)
    _known(content, set(HeldRoom.__dataclass_fields__), where)
    position = content.get("device_list_position")
    if position is not None and (type(position) is not int or abs(position) > MAX_INTEGER):
        raise InputError(f"{where}: device_list_position must be an integer of 64 bits")
    join_event = content.get("join_event")
    return HeldRoom(
        room_id=_text(content, "room_id", where),
        room_version=_text(content, "room_version", where),
        join_event=b"" if join_event is None else _event_json(_object(join_event, where), where),
        joined_via=_text(content, "joined_via", where),
        servers=_texts(content, "servers", where),
        non_member_state=tuple(pdu(event, where) for event in _list(content, "non_member_state", where)),
        partial_events=tuple(
            partial_event(event, where, ProvisionalVerdict.ACCEPTED)
            for event in _list(content, "partial_events", where)
        ),
        device_list_position=position,
    )


def _parse(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InputError(f"{where}: not JSON: {error}") from error
    except RecursionError as error:
        raise InputError(f"{where}: nested too deeply") from error


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
    return _unicode(value, name, where)


def _unicode(text: str, name: str, where: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{where}: {name} is not Unicode (a lone surrogate)") from error
    return text


def _list(content: dict[str, Any], name: str, where: str) -> list[Any]:
    value = content.get(name, [])
    if not isinstance(value, list):
        raise InputError(f"{where}: {name} must be a list")
    return value


def _texts(content: dict[str, Any], name: str, where: str) -> tuple[str, ...]:
    values = _list(content, name, where)
    if not all(isinstance(value, str) for value in values):
        raise InputError(f"{where}: {name} must be a list of texts")
    return tuple(_unicode(value, name, where) for value in values)
