"""The answers of other servers, split while they arrive: objects with arrays of objects, or of strings.

Those of `/state`, `/event_auth`, `/event` and a notary have arrays of objects. Each element is handed out as the bytes
it was written in, so that the strict reading of an event sees exactly what was sent. That of `/state_ids` has arrays of
strings.
"""

from typing import Any, NamedTuple

import orjson

from partialstate_service.federation.list_splitter import (
    ELEMENTS_AT_ONCE,
    Expect,
    ListSplitter,
    MalformedBodyError,
)


class Element(NamedTuple):
    """One object of a list."""

    list: str
    body: bytes
    """As it was written."""
    fields: dict[str, Any]
    """Read without care, for a first look: of repeated keys the last counts, and numbers may be anything."""


class ElementSplitter(ListSplitter[Element]):
    """Gives objects."""

    _misled_by: str | None = None

    def _elements(self, elements: list[Element]) -> bool:
        """Consume elements as long as each is followed directly by a comma and the next one."""
        while True:
            body, value, end = self._object_before_next() or self._object()
            if end < 0:
                return False
            self._count(1, len(body))
            elements.append(Element(self._list, body, value))
            self._at = end
            if not self._text.startswith(",{", end):
                self._expect = Expect.COMMA_OR_ARRAY_END
                return True
            self._at += 1
            if len(elements) >= ELEMENTS_AT_ONCE:
                return True

    def _object_before_next(self) -> tuple[bytes, dict[str, Any], int] | None:
        """Return the object that starts here if it ends where another one seems to begin; a complete object is the whole.

        Most elements are found like this in a third of the time; the slow way knows all the others. Once it was wrong or
        found nothing it is not tried again on the same text: nobody shall make it look in vain for each element.
        """
        if self._text is self._misled_by:
            return None
        end = self._text.find("},{", self._at) + 1
        if not end:
            self._misled_by = self._text
            return None
        body = self._text[self._at : end].encode("utf-8")
        try:
            value = orjson.loads(body)
        except orjson.JSONDecodeError:
            self._misled_by = self._text
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


class StringSplitter(ListSplitter[tuple[str, str]]):
    """Gives strings, each with the name of its list."""

    _tried_on: str | None = None

    def _elements(self, elements: list[tuple[str, str]]) -> bool:
        self._take_run(elements)
        while True:
            value, end = self._decode()
            if end < 0:
                return False
            self._put(elements, [value], end - self._at)
            self._at = end
            if not self._text.startswith(',"', end):
                self._expect = Expect.COMMA_OR_ARRAY_END
                return True
            self._at += 1

    def _take_run(self, elements: list[tuple[str, str]]) -> None:
        """Take all strings but the last one in the text at once, if that is possible: nearly always it is.

        What is JSON between these brackets ends with a whole string, whatever the last comma stands in.
        """
        if self._text is self._tried_on:
            return
        self._tried_on = self._text
        end = self._text.rfind('","', self._at) + 1
        if not end:
            return
        run = self._text[self._at : end]
        try:
            values = orjson.loads(f"[{run}]")
        except orjson.JSONDecodeError:
            return
        self._put(elements, values, max(map(len, run.split('","'))))
        self._at = end + 1

    def _put(self, elements: list[tuple[str, str]], values: list[Any], size: int) -> None:
        if not all(type(value) is str for value in values):
            raise MalformedBodyError(f"{self._list!r} is not a list of strings")
        self._count(len(values), size)
        elements += [(self._list, value) for value in values]
