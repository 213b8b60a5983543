r"""Reading JSON from other servers without surprises, and writing canonical JSON.

Sources: Matrix specification v1.19, appendices, "Canonical JSON"; RFC 8259. Canonical JSON is UTF-8, without
insignificant white space, keys sorted by code point, integers within ±(2^53-1), no floats. Room versions 1-5 never
enforced the last two; *loose* here means their numbers: any finite integer or float. Floats are written in Python's
shortest form (`1.0`, `1e-07`), since the servers that made such events wrote them so.

Reading and writing go through orjson wherever its bytes are those of canonical JSON; what it would change without
a word is found out and takes the slow path:

* integers from 2^64 on become floats, and floats are written in another form than ours;
* a repeated key silently wins over the earlier one. Re-encoding without white space tells. First by length: without
  floats it is the shortest spelling of what it keeps, so where it is as long as the text, nothing was dropped. Else by
  quotation marks: a text has two for each string, and one for each that is written `\"` inside a string, and so has
  the re-encoding, less two or more for each dropped key; only a text with `\u0022` may have fewer to begin with;
* more than 254 levels are read but not written.
"""

import json
from math import isfinite
from typing import Any, Final

import orjson

MAX_NESTING: Final = 500
"""Arrays and objects inside each other; bounded so that no recursion limit is ever met."""
MAX_INTEGER: Final = 2**53 - 1

_PLAIN_SCALARS: Final = frozenset({str, int, bool, type(None)})
_CONTAINERS: Final = frozenset({dict, list})
_ESCAPED_QUOTE: Final = b"\\u0022"
_LOOSE: Final = orjson.OPT_SORT_KEYS
_STRICT: Final = orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER


class InvalidJsonError(ValueError):
    """Bytes are not acceptable JSON, or a value has no canonical form."""


def parse_json(data: bytes, *, strict: bool = True) -> Any:
    """Return the value of the JSON text *data*, or raise `InvalidJsonError`, and nothing else.

    Refused: bad UTF-8, a byte order mark, NaN and infinities, lone surrogates, repeated keys, more than
    `MAX_NESTING` levels, numbers beyond the range of a double. *strict* also refuses floats and integers beyond
    ±(2^53-1), as room versions from 6 do.
    """
    value, plain = parse_loose(data)
    if strict:
        if not plain:
            raise InvalidJsonError("a float, or an integer beyond ±(2^53-1)")
        encode_plain(value)  # refuses big integers
    return value


def parse_loose(data: bytes, *, max_nesting: int = MAX_NESTING) -> tuple[Any, bool]:
    """Return the value of *data* with loose numbers, and whether it is *plain*, that is without any float.

    Refuses what `parse_json` refuses with ``strict=False``, and more than *max_nesting* levels, at most `MAX_NESTING`.
    """
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise InvalidJsonError(f"not JSON: {error.msg}") from error
    plain = is_plain(value, max_nesting=max_nesting)
    if not plain or _may_repeat_a_key(data, value):
        value = _parse_exactly(data)
        plain = is_plain(value)  # a big integer was a float before
    return value, plain


def encode_canonical(value: Any, *, strict: bool = True) -> bytes:
    """Return *value* as canonical JSON; raise `InvalidJsonError` where it has none.

    *value* is made of dicts with string keys, lists, strings, numbers, booleans and None. Floats and integers beyond
    ±(2^53-1) are refused unless *strict* is False.
    """
    return encode_plain(value, strict=strict) if is_plain(value) else _encode_exactly(value, strict=strict)


def encode_plain(value: Any, *, strict: bool = True) -> bytes:
    """Return what `encode_canonical` does for a *value* that is known to be plain: that check is not repeated."""
    try:
        return orjson.dumps(value, option=_STRICT if strict else _LOOSE)
    except orjson.JSONEncodeError:
        # A big integer, deep nesting, a lone surrogate, a key that is no string: the slow path knows which is allowed.
        return _encode_exactly(value, strict=strict)


def is_plain(value: Any, *, max_nesting: int = MAX_NESTING) -> bool:
    """Whether *value* is made of dicts, lists, strings, integers, booleans and None only.

    Raises `InvalidJsonError` beyond *max_nesting* levels. Walks level by level: no recursion, whatever the nesting.
    """
    if type(value) not in _CONTAINERS:
        return type(value) in _PLAIN_SCALARS
    plain = True
    level = [value]
    depth = 0
    while level:
        depth += 1
        if depth > max_nesting:
            raise _too_deep(max_nesting)
        deeper: list[Any] = []
        for node in level:
            for child in node.values() if type(node) is dict else node:
                kind = type(child)
                if kind not in _PLAIN_SCALARS:
                    if kind in _CONTAINERS:
                        deeper.append(child)
                    else:
                        plain = False
        level = deeper
    return plain


def _may_repeat_a_key(data: bytes, plain: Any) -> bool:
    try:
        again = orjson.dumps(plain)
    except orjson.JSONEncodeError:
        return True
    if len(again) == len(data):
        return False
    return _ESCAPED_QUOTE in data or data.count(b'"') != again.count(b'"')


def _parse_exactly(data: bytes) -> Any:
    """Parse once more what orjson has accepted: big integers are kept as they are, and repeated keys refused."""
    try:
        return json.loads(data.decode(), object_pairs_hook=_object_without_repeats)
    except RecursionError as error:  # the caller is already deep in its stack
        raise InvalidJsonError("no room to parse") from error


def _object_without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    read = dict(pairs)
    if len(read) != len(pairs):
        raise InvalidJsonError("a key occurs twice in one object")
    return read


def _encode_exactly(value: Any, *, strict: bool) -> bytes:
    _check_encodable(value, strict=strict)
    try:
        return _ENCODER.encode(value).encode()
    except UnicodeEncodeError as error:
        raise InvalidJsonError("a lone surrogate") from error
    except (ValueError, RecursionError) as error:
        # An integer of thousands of digits; or the caller is already deep in its stack.
        raise InvalidJsonError(f"no canonical form: {type(error).__name__}") from error


_ENCODER: Final = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, check_circular=False, sort_keys=True, separators=(",", ":")
)


def _check_encodable(value: Any, *, strict: bool) -> None:
    level = [value]
    depth = 0
    while level:
        for node in level:
            _check_node(node, strict=strict)
        containers = [node for node in level if isinstance(node, dict | list)]
        depth += 1
        if containers and depth > MAX_NESTING:
            raise _too_deep(MAX_NESTING)
        level = [
            child for node in containers for child in (node.values() if isinstance(node, dict) else node)
        ]


def _check_node(node: Any, *, strict: bool) -> None:
    if isinstance(node, dict):
        if not all(isinstance(key, str) for key in node):
            raise InvalidJsonError("a key that is not a string")
    elif isinstance(node, float):
        if strict:
            raise InvalidJsonError("a float")
        if not isfinite(node):
            raise InvalidJsonError("a number that is not finite")
    elif isinstance(node, int):
        if strict and not -MAX_INTEGER <= node <= MAX_INTEGER:
            raise InvalidJsonError("an integer beyond ±(2^53-1)")
    elif not (node is None or isinstance(node, str | list)):
        raise InvalidJsonError(f"a {type(node).__name__} is not JSON")


def _too_deep(limit: int) -> InvalidJsonError:
    return InvalidJsonError(f"more than {limit} levels of nesting")
