"""Calls of the API that may lose their answers, for those who write down what they were told."""

from collections.abc import Awaitable
from typing import Any

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

CALL_S = 20.0
_LOST = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
}

Answer = tuple[Any, ...]


class LostAnswerError(Exception):
    """Whether the call was made is not known."""


async def asked(method: Any, request: Any) -> Any:
    """Return the response, or the reason of an error as a tuple. Raises LostAnswerError if neither came."""
    try:
        return await method(request, timeout=CALL_S)
    except grpc.aio.AioRpcError as error:
        raised = error
    status = rpc_status.from_call(raised)
    if raised.code() in _LOST or status is None:  # what gRPC says by itself has no details
        raise LostAnswerError from raised
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return (info.reason,)


async def done(call: Awaitable[Any]) -> Answer:
    """Return OK, or the reason of an error."""
    answer = await call
    return answer if isinstance(answer, tuple) else ("OK",)
