"""What stands before every call: its admission, the time limit, the table of errors, and the end of the service."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import grpc
import structlog

from partialstate_service.rpc.admission import Admission
from partialstate_service.rpc.grpc_types import Context, Handler, Interceptor
from partialstate_service.rpc.status import (
    INTERNAL_ERROR,
    StoppingError,
    failure_of,
)

_log = structlog.get_logger()

# Orchestrators probe without a token, and learn nothing but whether the service serves.
_HEALTH = "/grpc.health.v1.Health/"


class Guard(Interceptor):
    """Wraps every handler: no exception leaves the process but as a status of the table."""

    def __init__(self, admission: Admission, *, unary_timeout_s: float, upload_timeout_s: float) -> None:
        """Guard calls that *admission* admits.

        *unary_timeout_s* limits a call of one message, *upload_timeout_s* one with a stream of requests and one answer.
        Streams of answers end with the client or the service.
        """
        self._admission = admission
        self._unary_timeout_s = unary_timeout_s
        self._upload_timeout_s = upload_timeout_s
        self._streams: set[asyncio.Timeout] = set()
        self._stopping = False
        self._wrapped: dict[str, Handler] = {}

    def end_streams(self) -> None:
        """End the streams of answers, which else would last as long as their clients like."""
        self._stopping = True
        now = asyncio.get_running_loop().time()
        for scope in self._streams:
            scope.reschedule(now)

    def forget_handlers(self) -> None:
        """Look for the handlers anew: there are others now."""
        self._wrapped.clear()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """Return the handler of a call, wrapped."""
        method = handler_call_details.method
        wrapped = self._wrapped.get(method)
        if wrapped is None:
            handler = await continuation(handler_call_details)
            if handler is None or method.startswith(_HEALTH):
                return handler
            wrapped = (
                self._stream_handler(handler, method)
                if handler.response_streaming
                else self._unary_handler(handler, method)
            )
            # There are as many as there are methods: an unknown one has no handler.
            self._wrapped[method] = wrapped
        return wrapped

    def _unary_handler(self, handler: Handler, method: str) -> Handler:
        behaviour: Any = handler.stream_unary if handler.request_streaming else handler.unary_unary
        limit_s = self._upload_timeout_s if handler.request_streaming else self._unary_timeout_s
        wrap = (
            grpc.stream_unary_rpc_method_handler
            if handler.request_streaming
            else grpc.unary_unary_rpc_method_handler
        )

        async def call(request: Any, context: Context) -> Any:
            try:
                async with asyncio.timeout(limit_s):
                    client = self._admission.enter(method, context)
                    try:
                        return await behaviour(request, context)
                    finally:
                        self._admission.leave(client)
            except Exception as error:  # noqa: BLE001 - the root of a call
                await _abort(error, method, context)

        return wrap(call, handler.request_deserializer, handler.response_serializer)

    def _stream_handler(self, handler: Handler, method: str) -> Handler:
        behaviour: Any = handler.stream_stream if handler.request_streaming else handler.unary_stream
        wrap = (
            grpc.stream_stream_rpc_method_handler
            if handler.request_streaming
            else grpc.unary_stream_rpc_method_handler
        )

        # A coroutine that writes, not a generator: it ends with its call, whatever it awaits (PEP 525 leaves a
        # generator that is cancelled between two items to the garbage collector).
        async def call(request: Any, context: Context) -> None:
            try:
                async with self._endable():
                    client = self._admission.enter(method, context)
                    try:
                        await _answer(behaviour(request, context), context)
                    finally:
                        self._admission.leave(client)
            except Exception as error:  # noqa: BLE001 - the root of a call
                await _abort(error, method, context)

        return wrap(call, handler.request_deserializer, handler.response_serializer)

    @asynccontextmanager
    async def _endable(self) -> AsyncIterator[None]:
        """Run a stream in a scope that `end_streams` ends."""
        try:
            async with asyncio.timeout(None) as scope:
                self._streams.add(scope)
                try:
                    yield
                finally:
                    self._streams.discard(scope)
        except TimeoutError:
            if self._stopping:
                raise StoppingError from None
            raise


async def _answer(answers: Any, context: Context) -> None:
    """Let a stream be answered, by a coroutine that writes or, as reflection has it, a generator."""
    if hasattr(answers, "__aiter__"):
        async for answer in answers:
            await context.write(answer)
    else:
        await answers


async def _abort(error: Exception, method: str, context: Context) -> None:
    """End the call with the status of *error*; an unforeseen one is logged under an id that the caller is told."""
    if isinstance(error, grpc.aio.AbortError):
        raise error
    if isinstance(error, TimeoutError):
        await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "the call took longer than the service allows")
    failure = failure_of(error)
    if failure is None:
        request_id = uuid4().hex
        _log.error("call failed unexpectedly", method=method, request_id=request_id, exc_info=error)
        failure = INTERNAL_ERROR.with_facts(request_id=request_id)
    status = failure.rich_status()
    await context.abort(status.code, status.details, status.trailing_metadata)
