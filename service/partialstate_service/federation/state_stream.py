"""Splits the arrays of a JSON object into their elements while the object arrives. Pure; survives any bytes.

The answers of `/state`, `/event_auth`, `/event` and a notary are objects with arrays of objects. Each element is
handed out as the bytes it was written in, so that the strict reading of an event sees exactly what was sent.
Memory is bounded by one element and one chunk, time is linear in the bytes: an element that is not complete
is tried again only when twice as much of it has arrived.
"""

import codecs
import json
import re
from collections.abc import Collection
from enum import Enum, auto
from typing import Any, NamedTuple

import orjson

_WHITE_SPACE = re.compile(r"[ \t\n\r]*")
# Less than this is not worth a new attempt at an incomplete element.
_MIN_NEW_CHARS = 16 * 1024
# An error this close to the end of what has arrived may be a literal or an escape cut in two.
_CUT_CHARS = 16

_raw_decode = json.JSONDecoder().raw_decode


class MalformedBodyError(ValueError):
    """The bytes are not an object of the expected form; the text names no byte of it."""


class OversizedBodyError(ValueError):
    """One element, one other value, or their number is beyond the limit."""


class Element(NamedTuple):
    """One object of a list."""

    list: str
    body: bytes
    """As it was written."""
    fields: dict[str, Any]
    """Read without care, for a first look: of repeated keys the last counts, and numbers may be anything."""


class _Expect(Enum):
    OBJECT = auto()
    KEY_OR_END = auto()
    KEY = auto()
    VALUE = auto()
    COMMA_OR_END = auto()
    ELEMENT_OR_END = auto()
    ELEMENT = auto()
    COMMA_OR_ARRAY_END = auto()
    NOTHING = auto()


class ElementSplitter:
    """Takes the bytes of one object, gives the elements of its arrays named in *lists*."""

    def __init__(self, lists: Collection[str], *, max_element_bytes: int, max_elements: int) -> None:
        self._missing = set(lists)
        self._lists = frozenset(lists)
        self._max_element_bytes = max_element_bytes
        self._elements_left = max_elements
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._expect = _Expect.OBJECT
        self._list = ""
        self._text = ""
        self._at = 0
        self._arrived: list[str] = []
        self._arrived_chars = 0
        self._wanted_chars = 1

    def feed(self, chunk: bytes) -> list[Element]:
        """Return the elements that *chunk* completes; raises `MalformedBodyError` or `OversizedBodyError`."""
        return self._take(chunk, final=False)

    def finish(self) -> list[Element]:
        """Return the last elements; `MalformedBodyError` unless the object is complete and has every list."""
        elements = self._take(b"", final=True)
        if self._expect is not _Expect.NOTHING:
            raise MalformedBodyError("the JSON ends early")
        if self._missing:
            raise MalformedBodyError(f"no list {min(self._missing)!r}")
        return elements

    def _take(self, chunk: bytes, *, final: bool) -> list[Element]:
        try:
            text = self._decoder.decode(chunk, final)
        except UnicodeDecodeError as error:
            raise MalformedBodyError("not UTF-8") from error
        self._arrived.append(text)
        self._arrived_chars += len(text)
        if self._arrived_chars < self._wanted_chars and not final:
            return []
        self._text = "".join((self._text[self._at :], *self._arrived))
        self._at = 0
        self._arrived.clear()
        self._arrived_chars = 0
        elements: list[Element] = []
        while self._advance(elements, final=final):
            pass
        rest = len(self._text) - self._at
        if rest > self._max_element_bytes:
            raise OversizedBodyError(f"one element has more than {self._max_element_bytes} bytes")
        self._wanted_chars = max(rest, _MIN_NEW_CHARS) if rest else 1
        return elements

    def _advance(self, elements: list[Element], *, final: bool) -> bool:
        """Consume one token, or one run of elements; return False where more text is needed."""
        self._skip_white_space()
        if self._at == len(self._text):
            return False
        match self._expect:
            case _Expect.ELEMENT:
                return self._elements(elements)
            case _Expect.KEY:
                return self._key()
            case _Expect.VALUE:
                return self._value(final=final)
            case _Expect.NOTHING:
                raise MalformedBodyError("something follows the JSON")
            case _:
                self._punctuation()
                return True

    def _punctuation(self) -> None:
        """Consume one character that the grammar allows here, or look past an optional end."""
        character = self._text[self._at]
        expect = _AFTER_PUNCTUATION.get((self._expect, character))
        if expect is not None:
            self._at += 1
            self._expect = expect
        elif self._expect is _Expect.KEY_OR_END:
            self._expect = _Expect.KEY
        elif self._expect is _Expect.ELEMENT_OR_END:
            self._expect = _Expect.ELEMENT
        else:
            raise MalformedBodyError("not JSON of the expected form")

    def _key(self) -> bool:
        key, end = self._decode()
        if end < 0:
            return False
        if not isinstance(key, str):
            raise MalformedBodyError("not JSON of the expected form")
        colon = self._past_white_space(end)
        if colon == len(self._text):
            return False
        if self._text[colon] != ":":
            raise MalformedBodyError("not JSON of the expected form")
        self._at = colon + 1
        self._list = key if key in self._lists else ""
        if self._list:
            if key not in self._missing:
                raise MalformedBodyError(f"the list {key!r} comes twice")
            self._missing.remove(key)
        self._expect = _Expect.VALUE
        return True

    def _value(self, *, final: bool) -> bool:
        """Enter a wanted list, or pass over any other value."""
        if self._list:
            if self._text[self._at] != "[":
                raise MalformedBodyError(f"{self._list!r} is not a list")
            self._at += 1
            self._expect = _Expect.ELEMENT_OR_END
            return True
        _, end = self._decode()
        # A number at the very end may go on in the next chunk.
        if end < 0 or (end == len(self._text) and not final):
            return False
        self._check_size(end - self._at)
        self._at = end
        self._expect = _Expect.COMMA_OR_END
        return True

    def _elements(self, elements: list[Element]) -> bool:
        """Consume elements as long as each is followed directly by a comma and the next one."""
        while True:
            body, value, end = self._object_before_next() or self._object()
            if end < 0:
                return False
            self._check_size(len(body))
            if not self._elements_left:
                raise OversizedBodyError("too many elements")
            self._elements_left -= 1
            elements.append(Element(self._list, body, value))
            self._at = end
            if not self._text.startswith(",{", end):
                self._expect = _Expect.COMMA_OR_ARRAY_END
                return True
            self._at += 1

    def _object_before_next(self) -> tuple[bytes, dict[str, Any], int] | None:
        """Return the object that starts here if it ends where another one seems to begin; a complete object is the whole.

        Most elements are found like this in a third of the time; the slow way knows all the others.
        """
        end = self._text.find("},{", self._at) + 1
        if not end:
            return None
        body = self._text[self._at : end].encode("utf-8")
        try:
            value = orjson.loads(body)
        except orjson.JSONDecodeError:
            return None
        return (body, value, end) if type(value) is dict else None

    def _object(self) -> tuple[bytes, dict[str, Any], int]:
        """Return the object that starts here; an end of -1 where it may only be incomplete."""
        value, end = self._decode()
        if end < 0:
            return b"", {}, -1
        if type(value) is not dict:
            raise MalformedBodyError(f"an element of {self._list!r} is not an object")
        return self._text[self._at : end].encode("utf-8"), value, end

    def _decode(self) -> tuple[object, int]:
        """Return the value that starts here and its end; an end of -1 where it may only be incomplete."""
        try:
            return _raw_decode(self._text, self._at)
        except json.JSONDecodeError as error:
            cut = error.msg.startswith("Unterminated string") or error.pos > len(self._text) - _CUT_CHARS
            if not cut:
                raise MalformedBodyError("not JSON") from error
            return None, -1
        except (ValueError, RecursionError) as error:
            # Thousands of digits in one number, or thousands of brackets in each other.
            raise MalformedBodyError("JSON beyond any reason") from error

    def _check_size(self, size: int) -> None:
        if size > self._max_element_bytes:
            raise OversizedBodyError(f"one element has more than {self._max_element_bytes} bytes")

    def _skip_white_space(self) -> None:
        self._at = self._past_white_space(self._at)

    def _past_white_space(self, at: int) -> int:
        match = _WHITE_SPACE.match(self._text, at)
        assert match is not None
        return match.end()


_AFTER_PUNCTUATION = {
    (_Expect.OBJECT, "{"): _Expect.KEY_OR_END,
    (_Expect.KEY_OR_END, "}"): _Expect.NOTHING,
    (_Expect.COMMA_OR_END, ","): _Expect.KEY,
    (_Expect.COMMA_OR_END, "}"): _Expect.NOTHING,
    (_Expect.ELEMENT_OR_END, "]"): _Expect.COMMA_OR_END,
    (_Expect.COMMA_OR_ARRAY_END, ","): _Expect.ELEMENT,
    (_Expect.COMMA_OR_ARRAY_END, "]"): _Expect.COMMA_OR_END,
}
