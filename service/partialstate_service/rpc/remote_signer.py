"""Signing by the homeserver: SigningService, called at SIGNING_TARGET."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
from partialstate.v1 import signing_service_pb2 as pb
from partialstate.v1 import signing_service_pb2_grpc as pb_grpc

from partialstate_service.domain.ids import ServerName
from partialstate_service.federation.signing import SigningUnavailableError, x_matrix
from partialstate_service.matrix.event import JsonObject
from partialstate_service.rpc.credentials import token_in

_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class SigningAccess:
    """How the homeserver's SigningService is reached."""

    target: str
    """HOST:PORT or unix:PATH."""
    ca_file: Path | None = None
    """PEM; None: without TLS."""
    token_file: Path | None = None


class RemoteSigner:
    """A `RequestSigner` that asks the homeserver, which keeps its key."""

    def __init__(
        self, stub: "pb_grpc.SigningServiceAsyncStub", us: ServerName, token: Callable[[], str] | None
    ) -> None:
        self._stub = stub
        self._us = us
        self._token = token

    async def sign(self, method: str, uri: str, destination: ServerName, content: JsonObject | None) -> str:
        """See `RequestSigner`."""
        request = pb.SignRequestRequest(
            method=method,
            uri=uri,
            destination=destination,
            content=b"" if content is None else json.dumps(content).encode(),
        )
        try:
            answer = await self._stub.SignRequest(request, timeout=_TIMEOUT_S, metadata=self._metadata())
        except grpc.aio.AioRpcError as error:
            raise SigningUnavailableError(f"the homeserver did not sign: {error.code().name}") from error
        if answer.origin != self._us:
            raise SigningUnavailableError(
                f"the homeserver signed as {answer.origin!a:.80}, not as {self._us}"
            )
        return x_matrix(self._us, destination, answer.key_id, answer.signature)

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        return () if self._token is None else (("authorization", f"Bearer {self._token()}"),)


@asynccontextmanager
async def remote_signer(access: SigningAccess, us: ServerName) -> AsyncIterator[RemoteSigner]:
    """Yield a signer that asks the homeserver. Raises `OSError`, or `ValueError` for a token file that holds no token."""
    token = token_in(access.token_file) if access.token_file is not None else None
    if access.ca_file is not None:
        channel = grpc.aio.secure_channel(
            access.target, grpc.ssl_channel_credentials(access.ca_file.read_bytes())
        )
    else:
        channel = grpc.aio.insecure_channel(access.target)
    async with channel:
        yield RemoteSigner(pb_grpc.SigningServiceStub(channel), us, token)
