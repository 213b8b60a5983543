"""Splits the arrays of a JSON object into their elements while the object arrives. Pure; survives any bytes.

Memory is bounded by one element and one chunk, time is linear in the bytes: an element that is not complete
is tried again only when twice as much of it has arrived.
"""

import codecs
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Collection
from enum import Enum, auto
from typing import Generic, TypeVar

_T = TypeVar("_T")

_WHITE_SPACE = re.compile(r"[ \t\n\r]*")
# Less than this is not worth a new attempt at an incomplete element.
_MIN_NEW_CHARS = 16 * 1024
# An error this close to the end of what has arrived may be a literal or an escape cut in two.
_CUT_CHARS = 16

ELEMENTS_AT_ONCE = 2000
"""How many elements one call gives: a megabyte of tiny ones takes a second."""
# The answers have two or three keys beside their lists; whatever a future version adds, it is not hundreds.
_MAX_OTHER_KEYS = 100

_raw_decode = json.JSONDecoder().raw_decode


class MalformedBodyError(ValueError):
    """The bytes are not an object of the expected form; the text names no byte of it."""


class OversizedBodyError(ValueError):
    """One element, one other value, or their number is beyond the limit."""


class Expect(Enum):
    """What may come next."""

    OBJECT = auto()
    KEY_OR_END = auto()
    KEY = auto()
    VALUE = auto()
    COMMA_OR_END = auto()
    ELEMENT_OR_END = auto()
    ELEMENT = auto()
    COMMA_OR_ARRAY_END = auto()
    NOTHING = auto()


class ListSplitter(ABC, Generic[_T]):
    """Takes the bytes of one object, gives the elements of its arrays named in *lists*."""

    def __init__(self, lists: Collection[str], *, max_element_bytes: int, max_elements: int) -> None:
        self._missing = set(lists)
        self._lists = frozenset(lists)
        self._max_element_bytes = max_element_bytes
        self._elements_left = max_elements
        self._other_keys_left = _MAX_OTHER_KEYS
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._expect = Expect.OBJECT
        self._list = ""
        self._text = ""
        self._at = 0
        self._arrived: list[str] = []
        self._arrived_chars = 0
        self._wanted_chars = 1
        self.has_more = False
        """Whether further elements are there already: the next call gives them."""

    def feed(self, chunk: bytes) -> list[_T]:
        """Return the elements that *chunk* completes; raises `MalformedBodyError` or `OversizedBodyError`."""
        return self._take(chunk, final=False)

    def finish(self) -> list[_T]:
        """Return the last elements; `MalformedBodyError` unless the object is complete and has every list."""
        elements = self._take(b"", final=True)
        while self.has_more:
            elements += self._take(b"", final=True)
        if self._expect is not Expect.NOTHING:
            raise MalformedBodyError("the JSON ends early")
        if self._missing:
            raise MalformedBodyError(f"no list {min(self._missing)!r}")
        return elements

    def _take(self, chunk: bytes, *, final: bool) -> list[_T]:
        try:
            text = self._decoder.decode(chunk, final)
        except UnicodeDecodeError as error:
            raise MalformedBodyError("not UTF-8") from error
        self._arrived.append(text)
        self._arrived_chars += len(text)
        if self._arrived_chars < self._wanted_chars and not final and not self.has_more:
            return []
        self._text = "".join((self._text[self._at :], *self._arrived))
        self._at = 0
        self._arrived.clear()
        self._arrived_chars = 0
        elements: list[_T] = []
        self.has_more = False
        while self._advance(elements, final=final):
            pass
        if self.has_more:
            return elements
        rest = len(self._text) - self._at
        if rest > self._max_element_bytes:
            raise OversizedBodyError(f"one element has more than {self._max_element_bytes} bytes")
        self._wanted_chars = max(rest, _MIN_NEW_CHARS) if rest else 1
        return elements

    def _advance(self, elements: list[_T], *, final: bool) -> bool:
        """Consume one token, or one run of elements; return False where more text is needed."""
        self._skip_white_space()
        if self._at == len(self._text):
            return False
        match self._expect:
            case Expect.ELEMENT:
                self.has_more = len(elements) >= ELEMENTS_AT_ONCE
                return not self.has_more and self._elements(elements)
            case Expect.KEY:
                return self._key()
            case Expect.VALUE:
                return self._value(final=final)
            case Expect.NOTHING:
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
        elif self._expect is Expect.KEY_OR_END:
            self._expect = Expect.KEY
        elif self._expect is Expect.ELEMENT_OR_END:
            self._expect = Expect.ELEMENT
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
        elif self._other_keys_left:
            self._other_keys_left -= 1
        else:
            raise MalformedBodyError(f"more than {_MAX_OTHER_KEYS} keys")
        self._expect = Expect.VALUE
        return True

    def _value(self, *, final: bool) -> bool:
        """Enter a wanted list, or pass over any other value."""
        if self._list:
            if self._text[self._at] != "[":
                raise MalformedBodyError(f"{self._list!r} is not a list")
            self._at += 1
            self._expect = Expect.ELEMENT_OR_END
            return True
        _, end = self._decode()
        # A number at the very end may go on in the next chunk.
        if end < 0 or (end == len(self._text) and not final):
            return False
        self._check_size(end - self._at)
        self._at = end
        self._expect = Expect.COMMA_OR_END
        return True

    @abstractmethod
    def _elements(self, elements: list[_T]) -> bool:
        """Consume the element that starts here, and those that follow it as far as they are there.

        Return False where more text is needed for the next one.
        """

    def _count(self, elements: int, size: int) -> None:
        """Count *elements* of *size* bytes each at most; raise `OversizedBodyError` beyond a limit."""
        self._check_size(size)
        if elements > self._elements_left:
            raise OversizedBodyError("too many elements")
        self._elements_left -= elements

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
    (Expect.OBJECT, "{"): Expect.KEY_OR_END,
    (Expect.KEY_OR_END, "}"): Expect.NOTHING,
    (Expect.COMMA_OR_END, ","): Expect.KEY,
    (Expect.COMMA_OR_END, "}"): Expect.NOTHING,
    (Expect.ELEMENT_OR_END, "]"): Expect.COMMA_OR_END,
    (Expect.COMMA_OR_ARRAY_END, ","): Expect.ELEMENT,
    (Expect.COMMA_OR_ARRAY_END, "]"): Expect.COMMA_OR_END,
}
