"""The JSON that `--json` prints: the client's types, field by field, under the same names.

Enums are their names, times ISO 8601 in UTC, absent values null.
"""

import json
from dataclasses import fields, is_dataclass, replace
from datetime import datetime
from enum import Enum
from typing import Any

from partialstate.changes import Bookmark, Change, RoomChanged, RoomEnded
from partialstate.checks import Decision
from partialstate.errors import PartialStateError


def shape(value: object) -> Any:
    """Return *value* as JSON takes it."""
    match value:
        case Enum():
            return value.value
        case None | bool() | int() | float() | str():
            return value
        case datetime():
            return value.isoformat()
        case list() | tuple():
            return [shape(item) for item in value]
        case _ if is_dataclass(value):
            return {field.name: shape(getattr(value, field.name)) for field in fields(value)}
        case _:
            raise TypeError(f"no shape for {type(value).__name__}")


def decision(value: Decision) -> dict[str, Any]:
    """Return a decision."""
    # What became of a check without a decision is told as an error.
    shaped: dict[str, Any] = shape(replace(value, failure=None))
    del shaped["failure"]
    return shaped


def change(value: Change, *, listed: bool = False) -> dict[str, Any]:
    """Return a change; *listed*: the room was read from the list that a watch begins with."""
    match value:
        case RoomChanged():
            kind = "listed" if listed else "changed"
        case RoomEnded():
            kind = "ended"
        case Bookmark():
            kind = "bookmark"
    return {"change": kind, **shape(value)}


def error(value: PartialStateError) -> dict[str, Any]:
    """Return an error."""
    return {
        "error": {
            "status": value.status,
            "reason": value.reason.value,
            "message": value.message,
            "facts": dict(value.facts),
        }
    }


def usage_error(message: str) -> dict[str, Any]:
    """Return what is wrong with a command line or an input, in the shape of `error`; the service was not asked."""
    return {"error": {"status": "INVALID_ARGUMENT", "reason": "USAGE", "message": message, "facts": {}}}


def output_error(message: str) -> dict[str, Any]:
    """Return what is wrong with the output, in the shape of `error`; the service may have done what it was asked."""
    return {"error": {"status": "UNKNOWN", "reason": "OUTPUT", "message": message, "facts": {}}}


def line(value: Any) -> str:
    """Return one line of JSON; ASCII, so that nothing in it can steer a terminal."""
    return json.dumps(value, separators=(",", ":"))
