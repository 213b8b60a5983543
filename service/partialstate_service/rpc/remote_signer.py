"""Signing by the homeserver: SigningService, called at SIGNING_TARGET."""

import json
from collections import deque
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
from partialstate_service.rpc.credentials import authorities_in, token_in

_TIMEOUT_S = 5.0
_CHANNELS = 2


@dataclass(frozen=True, slots=True)
class SigningAccess:
    """How the homeserver's SigningService is reached."""

    target: str
    """HOST:PORT or unix:PATH."""
    ca_file: Path | None = None
    """PEM; None: without TLS. Followed when it changes, as is the token."""
    token_file: Path | None = None


class _Homeserver:
    """The way to the homeserver, opened anew when its authorities change."""

    def __init__(self, access: SigningAccess) -> None:
        """Raises `InvalidCredentialsError`."""
        self._target = access.target
        self._authorities = None if access.ca_file is None else authorities_in(access.ca_file)
        self._channels: deque[grpc.aio.Channel] = deque()
        self._stub: pb_grpc.SigningServiceAsyncStub | None = None

    async def stub(self) -> "pb_grpc.SigningServiceAsyncStub":
        """Return the stub of a channel that trusts the authorities as they are now."""
        authorities, is_new = (None, False) if self._authorities is None else self._authorities.current()
        if self._stub is None or is_new:
            self._channels.append(self._open(authorities))
            self._stub = pb_grpc.SigningServiceStub(self._channels[-1])
        stub = self._stub
        # The one before may still have calls; those of the ones before that are as good as over.
        while len(self._channels) > _CHANNELS:
            await self._channels.popleft().close(_TIMEOUT_S)
        return stub

    async def close(self) -> None:
        """Close the channels."""
        while self._channels:
            await self._channels.popleft().close(None)

    def _open(self, authorities: bytes | None) -> grpc.aio.Channel:
        if authorities is None:
            return grpc.aio.insecure_channel(self._target)
        return grpc.aio.secure_channel(self._target, grpc.ssl_channel_credentials(authorities))


class RemoteSigner:
    """A `RequestSigner` that asks the homeserver, which keeps its key."""

    def __init__(self, homeserver: _Homeserver, us: ServerName, token: Callable[[], str] | None) -> None:
        self._homeserver = homeserver
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
            stub = await self._homeserver.stub()
            answer = await stub.SignRequest(request, timeout=_TIMEOUT_S, metadata=self._metadata())
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
    """Yield a signer that asks the homeserver. Raises `InvalidCredentialsError`."""
    token = token_in(access.token_file) if access.token_file is not None else None
    homeserver = _Homeserver(access)
    try:
        yield RemoteSigner(homeserver, us, token)
    finally:
        await homeserver.close()
