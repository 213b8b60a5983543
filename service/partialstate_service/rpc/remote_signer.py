"""Signing by the homeserver: SigningService, called at SIGNING_TARGET."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
from partialstate.v1 import signing_service_pb2 as pb
from partialstate.v1 import signing_service_pb2_grpc as pb_grpc

from partialstate_service.domain.ids import ServerName
from partialstate_service.federation.signing import SigningUnavailableError, x_matrix
from partialstate_service.matrix.event import JsonObject

_TIMEOUT_S = 5.0


class RemoteSigner:
    """A `RequestSigner` that asks the homeserver, which keeps its key."""

    def __init__(self, stub: "pb_grpc.SigningServiceAsyncStub", us: ServerName) -> None:
        self._stub = stub
        self._us = us

    async def sign(self, method: str, uri: str, destination: ServerName, content: JsonObject | None) -> str:
        """See `RequestSigner`."""
        request = pb.SignRequestRequest(
            method=method,
            uri=uri,
            destination=destination,
            content=b"" if content is None else json.dumps(content).encode(),
        )
        try:
            answer = await self._stub.SignRequest(request, timeout=_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise SigningUnavailableError(f"the homeserver did not sign: {error.code().name}") from error
        if answer.origin != self._us:
            raise SigningUnavailableError(
                f"the homeserver signed as {answer.origin!a:.80}, not as {self._us}"
            )
        return x_matrix(self._us, destination, answer.key_id, answer.signature)


@asynccontextmanager
async def remote_signer(target: str, us: ServerName) -> AsyncIterator[RemoteSigner]:
    """Yield a signer that asks the SigningService at *target*."""
    async with grpc.aio.insecure_channel(target) as channel:
        yield RemoteSigner(pb_grpc.SigningServiceStub(channel), us)
