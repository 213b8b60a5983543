"""Canonical JSON: what is read, what is refused, and that the fast path writes what the slow one would."""

import contextlib
import inspect
import json
import math
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from partialstate_service.matrix.canonical_json import (
    MAX_INTEGER,
    MAX_NESTING,
    InvalidJsonError,
    encode_canonical,
    is_plain,
    parse_json,
    parse_loose,
)
from support.json_texts import has_repeated_key, rendered, trees

_TEXT = st.text(st.characters(exclude_categories=["Cs"]))
_STRICT_SCALARS = st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | _TEXT
_LOOSE_SCALARS = (
    _STRICT_SCALARS | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False, allow_infinity=False)
)


def _values(scalars):
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=5) | st.dictionaries(_TEXT, inner, max_size=5),
        max_leaves=20,
    )


def _reference(value) -> bytes:
    """Return canonical JSON by the standard library alone: Python sorts strings by code point."""
    return json.dumps(
        value, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":")
    ).encode()


# Specification v1.19, appendices, "Canonical JSON", "Examples".
@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("{}", "{}"),
        ('{\n  "one": 1,\n  "two": "Two"\n}', '{"one":1,"two":"Two"}'),
        ('{\n  "b": "2",\n  "a": "1"\n}', '{"a":"1","b":"2"}'),
        ('{"b":"2","a":"1"}', '{"a":"1","b":"2"}'),
        (
            '{"auth": {"success": true, "mxid": "@john.doe:example.com", "profile": {"display_name": "John Doe"}}}',
            '{"auth":{"mxid":"@john.doe:example.com","profile":{"display_name":"John Doe"},"success":true}}',
        ),
        ('{"a":"日本語"}', '{"a":"日本語"}'),
        ('{"本":2,"日":1}', '{"日":1,"本":2}'),
        ('{"a":"\\u65E5"}', '{"a":"日"}'),
        ('{"a":null}', '{"a":null}'),
        ('{"a":-0,"b":10}', '{"a":0,"b":10}'),
        ('["\\u0000\\u001f\\u007f\\b\\/\\u2028"]', '["\\u0000\\u001f\x7f\\b/\u2028"]'),
        ('{"\\ud83d\\ude00":1,"\\uffff":2}', '{"\uffff":2,"\U0001f600":1}'),
    ],
)
def test_the_examples_of_the_specification(text, canonical):
    """Reading and writing again gives the canonical form."""
    assert encode_canonical(parse_json(text.encode())) == canonical.encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"{}x",
        b"[NaN]",
        b"[Infinity]",
        b"[-Infinity]",
        b"[1e400]",
        b"[" + b"9" * 400 + b"]",
        b"[01]",
        b"[1,]",
        b"['a']",
        b'{"a":1,"a":1}',
        b'[{"b":{"a":1,"c":2,"a":3}}]',
        b'{"a":1,"\\u0061":2}',
        b'{"a":"\\u0022","a":"\\u0022"}',
        b'{"":1,"":2}',
        b'"\\ud800"',
        b'"\\udc00\\ud800"',
        b'"\xed\xa0\x80"',
        b'"\xff"',
        b'"\xc0\xaf"',
        b"\xef\xbb\xbf{}",
        b'"\x01"',
        '"a"'.encode("utf-16"),
        b"[" * (MAX_NESTING + 1) + b"]" * (MAX_NESTING + 1),
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"[1.5," + b"[" * MAX_NESTING + b"]" * MAX_NESTING + b"]",
        b"[1.5," + b"[" * 1000 + b"]" * 1000 + b"]",
    ],
    ids=lambda data: ascii(data[:20]),
)
def test_refuses_whatever_the_numbers(data):
    """Malformed, ambiguous or endless texts are refused in every room version."""
    with pytest.raises(InvalidJsonError):
        parse_json(data, strict=False)
    with pytest.raises(InvalidJsonError):
        parse_json(data)


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"[1.0]", [1.0]),
        (b"[1e2]", [100.0]),
        (b"[-0.0]", [-0.0]),
        (b"[9007199254740992]", [2**53]),
        (b"[-9007199254740992]", [-(2**53)]),
        (b"[18446744073709551615]", [2**64 - 1]),
        (b"[18446744073709551616]", [2**64]),
        (b"[-9223372036854775809]", [-(2**63) - 1]),
        (b"[" + b"9" * 300 + b"]", [int("9" * 300)]),
    ],
)
def test_loose_numbers_are_kept_exactly_and_refused_when_strict(data, value):
    """Big integers stay integers; floats stay floats; room versions from 6 have neither."""
    parsed = parse_json(data, strict=False)
    assert parsed == value
    assert type(parsed[0]) is type(value[0])
    with pytest.raises(InvalidJsonError):
        parse_json(data)
    with pytest.raises(InvalidJsonError):
        encode_canonical(value)


@pytest.mark.parametrize("value", [MAX_INTEGER, -MAX_INTEGER, 0])
def test_the_largest_strict_integers(value):
    """±(2^53-1) are the last integers that every version has."""
    assert parse_json(encode_canonical(value)) == value


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        [math.inf],
        {1: 2},
        {"a": {None: 1}},
        ("tuple",),
        {"a": b"bytes"},
        {"a": {1}},
        "\ud800",
        {"\udfff": 1},
        [10**5000],
    ],
)
def test_what_has_no_canonical_form(value):
    """Values that are not JSON are refused, not coerced."""
    for strict in (True, False):
        with pytest.raises(InvalidJsonError):
            encode_canonical(value, strict=strict)


def test_without_room_on_the_stack():
    """A caller deep in its own recursion gets the same error, never a RecursionError.

    From Python 3.12 the recursion of the JSON library has a stack of its own, so that the call may succeed too.
    """
    refused = contextlib.suppress if sys.version_info >= (3, 12) else pytest.raises

    def at_depth(levels, call):
        return call() if levels == 0 else at_depth(levels - 1, call)

    frames = sys.getrecursionlimit() - len(inspect.stack(0)) - 100
    data = b"[" * 400 + b"1.5" + b"]" * 400
    value = parse_json(data, strict=False)
    for call in (lambda: parse_json(data, strict=False), lambda: encode_canonical(value, strict=False)):
        with refused(InvalidJsonError):
            at_depth(frames, call)


def _nested(levels: int):
    value = []
    for _ in range(levels - 1):
        value = [value]
    return value


def test_nesting_up_to_the_limit_is_read_and_written():
    """More levels than orjson writes (254) take the slow path; the limit is our own, not the interpreter's."""
    for levels in (253, 254, 255, MAX_NESTING):
        data = b"[" * levels + b"]" * levels
        assert encode_canonical(parse_json(data)) == data
        data = b"[" * levels + b"1.5" + b"]" * levels
        assert encode_canonical(parse_json(data, strict=False), strict=False) == data


def test_nesting_beyond_the_limit_is_refused():
    """Deep values are refused however deep, without a RecursionError."""
    with pytest.raises(InvalidJsonError):
        encode_canonical(_nested(MAX_NESTING + 1))
    with pytest.raises(InvalidJsonError):
        encode_canonical([_nested(MAX_NESTING), 1.0], strict=False)
    with pytest.raises(InvalidJsonError):
        encode_canonical(_nested(100_000), strict=False)


def test_a_float_in_one_form():
    """The form of Python, in which the servers wrote such events, where orjson would write 1e-7."""
    assert encode_canonical([1e-7, 1e16, 1.0, -0.0], strict=False) == b"[1e-07,1e+16,1.0,-0.0]"


@given(_values(_STRICT_SCALARS))
def test_the_fast_path_writes_what_the_standard_library_does(value):
    """Byte for byte."""
    assert is_plain(value)
    assert encode_canonical(value) == _reference(value)


@given(_values(_LOOSE_SCALARS))
def test_loose_values_are_written_as_the_standard_library_does(value):
    """Byte for byte, also with floats and integers of any size."""
    assert encode_canonical(value, strict=False) == _reference(value)


@given(_values(_LOOSE_SCALARS))
def test_round_trip(value):
    """Values are read as the standard library reads them, and canonical JSON is its own canonical form."""
    assert repr(parse_json(_reference(value), strict=False)) == repr(json.loads(_reference(value)))
    canonical = encode_canonical(value, strict=False)
    assert encode_canonical(parse_json(canonical, strict=False), strict=False) == canonical


@given(trees(), st.data())
def test_any_spelling_is_read_alike_and_each_repeated_key_is_found(tree, data):
    """White space, escapes and order of a text do not matter; one repeated key anywhere does."""
    text = rendered(tree, data.draw)
    if has_repeated_key(tree):
        with pytest.raises(InvalidJsonError):
            parse_json(text, strict=False)
    else:
        value = parse_json(text, strict=False)
        assert value == json.loads(text)
        assert encode_canonical(value, strict=False) == _reference(json.loads(text))


@given(st.binary() | st.text().map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_no_bytes_raise_anything_else(data):
    """Whatever the bytes."""
    for strict in (True, False):
        with contextlib.suppress(InvalidJsonError):
            parse_json(data, strict=strict)


def test_plain_says_whether_there_is_a_float():
    """At any depth."""
    assert parse_loose(b'{"a":[{"b":1}]}') == ({"a": [{"b": 1}]}, True)
    assert parse_loose(b'{"a":[{"b":1.5}]}') == ({"a": [{"b": 1.5}]}, False)
    assert parse_loose(b"1.5") == (1.5, False)
