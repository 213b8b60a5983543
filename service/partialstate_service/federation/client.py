"""The calls of a resync, typed: `ResidentServers` over HTTPS."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Sequence
from typing import TypeVar
from urllib.parse import quote

import httpx

from partialstate_service.domain.ids import EventId, InvalidIdError, RoomId, ServerName, parse_event_id
from partialstate_service.federation.list_splitter import ListSplitter, MalformedBodyError, OversizedBodyError
from partialstate_service.federation.outcomes import Failure, Outcome, escaped
from partialstate_service.federation.progress import Progress, StalledError
from partialstate_service.federation.protocol import FederationLimits, OwnId, StateElement, StateIds, same_id
from partialstate_service.federation.requester import Requester
from partialstate_service.federation.state_stream import ElementSplitter, StringSplitter

_PREFIX = "/_matrix/federation/v1"
_STATE_LISTS = ("pdus", "auth_chain")
_ID_LISTS = ("pdu_ids", "auth_chain_ids")
# An id has 255 bytes; written with an escape for each character, it has six times as many.
_MAX_ID_BYTES = 2048
# What surrounds the one event of an `/event` answer.
_ENVELOPE_BYTES = 16 * 1024
# From here on, parsing goes to a thread, so that the event loop does not stall.
_LARGE_BODY_BYTES = 64 * 1024
# How much of a stream is split before the event loop has a turn.
_SLICE_BYTES = 64 * 1024

_T = TypeVar("_T")


class FederationClient:
    """Asks remote servers; see `ResidentServers` for the contract of each call."""

    def __init__(
        self, requester: Requester, limits: FederationLimits, *, monotonic_s: Callable[[], float]
    ) -> None:
        self._requester = requester
        self._limits = limits
        self._monotonic_s = monotonic_s

    async def state_ids(
        self, server: ServerName, room: RoomId, event_id: EventId, own_id: OwnId = same_id
    ) -> StateIds:
        """See `ResidentServers`."""
        path = f"{_PREFIX}/state_ids/{_part(room)}?event_id={_part(event_id)}"
        splitter = StringSplitter(
            _ID_LISTS, max_element_bytes=_MAX_ID_BYTES, max_elements=self._limits.max_elements
        )
        ids: dict[str, list[EventId]] = {name: [] for name in _ID_LISTS}

        def put(texts: Sequence[tuple[str, str]]) -> None:
            for name, text in texts:
                ids[name].append(own_id(parse_event_id(text)))

        timeout_s = self._limits.response_timeout_s
        try:
            async with (
                asyncio.timeout(timeout_s),
                self._requester.open(server, "GET", path, timeout_s=timeout_s) as response,
            ):
                async for chunk in self._chunks(response, self._limits.max_ids_body_bytes):
                    async for texts in _fed(splitter, chunk):
                        put(texts)
                put(splitter.finish())
        except InvalidIdError as error:
            raise Failure(Outcome.INVALID, escaped(str(error))).of(server) from error
        except (MalformedBodyError, OversizedBodyError, StalledError) as error:
            raise _failure_of(error).of(server) from error
        except TimeoutError as error:
            raise Failure(Outcome.TIMEOUT, f"no answer in {timeout_s:g} s").of(server) from error
        return StateIds(tuple(ids["pdu_ids"]), tuple(ids["auth_chain_ids"]))

    async def state(
        self, server: ServerName, room: RoomId, event_id: EventId
    ) -> AsyncGenerator[Sequence[StateElement], None]:
        """See `ResidentServers`."""
        path = f"{_PREFIX}/state/{_part(room)}?event_id={_part(event_id)}"
        splitter = self._splitter(_STATE_LISTS)
        timeout_s = self._limits.state_response_timeout_s
        async with self._requester.open(server, "GET", path, timeout_s=timeout_s) as response:
            try:
                async for chunk in self._chunks(response, self._limits.max_state_body_bytes):
                    async for elements in _fed(splitter, chunk):
                        yield elements
                if elements := splitter.finish():
                    yield elements
            except (MalformedBodyError, OversizedBodyError, StalledError) as error:
                raise _failure_of(error).of(server) from error

    async def event(self, server: ServerName, event_id: EventId) -> bytes:
        """See `ResidentServers`."""
        path = f"{_PREFIX}/event/{_part(event_id)}"
        body = await self._fetch(server, path, self._limits.max_element_bytes + _ENVELOPE_BYTES)
        events = await self._elements(server, "pdus", body)
        if len(events) != 1:
            raise Failure(Outcome.INVALID, f"{len(events)} events in place of one").of(server)
        return events[0]

    async def event_auth(self, server: ServerName, room: RoomId, event_id: EventId) -> list[bytes]:
        """See `ResidentServers`."""
        path = f"{_PREFIX}/event_auth/{_part(room)}/{_part(event_id)}"
        body = await self._fetch(server, path, self._limits.max_auth_body_bytes)
        return await self._elements(server, "auth_chain", body)

    async def _fetch(self, server: ServerName, path: str, max_bytes: int) -> bytes:
        return await self._requester.fetch(
            server, "GET", path, timeout_s=self._limits.response_timeout_s, max_bytes=max_bytes
        )

    async def _elements(self, server: ServerName, name: str, body: bytes) -> list[bytes]:
        def split(body: bytes) -> list[bytes]:
            splitter = self._splitter([name])
            return [element.body for element in (*splitter.feed(body), *splitter.finish())]

        try:
            return await _off_loop(body, split)
        except (MalformedBodyError, OversizedBodyError) as error:
            raise _failure_of(error).of(server) from error

    def _splitter(self, lists: Collection[str]) -> ElementSplitter:
        return ElementSplitter(
            lists,
            max_element_bytes=self._limits.max_element_bytes,
            max_elements=self._limits.max_elements,
        )

    async def _chunks(self, response: httpx.Response, max_bytes: int) -> AsyncIterator[bytes]:
        """Yield the body's chunks, none of them late, and in all no more than *max_bytes*."""
        limits = self._limits
        progress = Progress(
            total_s=limits.state_total_timeout_s,
            window_s=limits.progress_window_s,
            min_bytes=limits.min_progress_bytes,
        )
        stream = response.aiter_raw()
        size = 0
        while True:
            asked_s = self._monotonic_s()
            try:
                async with asyncio.timeout(progress.allowance_s):
                    chunk = await anext(stream, None)
            except TimeoutError as error:
                raise StalledError from error
            if chunk is None:
                return
            progress.arrived(self._monotonic_s() - asked_s, len(chunk))
            size += len(chunk)
            if size > max_bytes:
                raise OversizedBodyError(f"more than {max_bytes} bytes")
            yield chunk


async def _off_loop(body: bytes, parse: Callable[[bytes], _T]) -> _T:
    """Parse *body* where it does not hold up the event loop."""
    if len(body) < _LARGE_BODY_BYTES:
        return parse(body)
    return await asyncio.to_thread(parse, body)


def _failure_of(error: MalformedBodyError | OversizedBodyError | StalledError) -> Failure:
    match error:
        case MalformedBodyError():
            return Failure(Outcome.INVALID, str(error))
        case OversizedBodyError():
            return Failure(Outcome.TOO_LARGE, str(error))
        case StalledError():
            return Failure(Outcome.TIMEOUT, "the body came too slowly")


async def _fed(splitter: ListSplitter[_T], chunk: bytes) -> AsyncIterator[list[_T]]:
    """Feed a chunk in slices that take the event loop some milliseconds at most, whatever is in them."""
    at = 0
    while at < len(chunk) or splitter.has_more:
        if at:
            await asyncio.sleep(0)
        # What is there already may be all that a turn has time for.
        size = 0 if splitter.has_more else _SLICE_BYTES
        if elements := splitter.feed(chunk[at : at + size]):
            yield elements
        at += size


def _part(value: str) -> str:
    """Return *value* as one part of a path or query; quoted once, and signed just so."""
    return quote(value, safe="")
