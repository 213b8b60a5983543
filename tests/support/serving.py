"""The gRPC server around servicers that a test made."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from partialstate_service.metrics import Metrics
from partialstate_service.rpc.server import ServerConfig, api_server
from partialstate_service.rpc.services import Servicers


@asynccontextmanager
async def running_server(
    servicers: Servicers, config: ServerConfig, metrics: Metrics | None = None
) -> AsyncIterator[str]:
    """Serve until the end of the block, then drain; yields the address, with the port that was chosen."""
    async with api_server(config, metrics or Metrics()) as server:
        server.serve(servicers)
        await server.start()
        try:
            yield server.address
        finally:
            await server.drain()
