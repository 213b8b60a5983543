"""A gRPC server of the same stack whose handlers do nothing: the floor of what a check can cost."""

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc
from partialstate.v1 import check_service_pb2 as pb
from partialstate.v1 import check_service_pb2_grpc as pb_grpc


class Empty(pb_grpc.CheckServiceServicer):
    """Answers at once, with nothing."""

    async def Check(self, request: pb.CheckRequest, context: object) -> pb.CheckResponse:  # noqa: N802
        return pb.CheckResponse()

    async def StreamCheck(  # type: ignore[override]  # noqa: N802 - writes its answers, as the service does
        self, request_iterator: AsyncIterator[pb.StreamCheckRequest], context: Any
    ) -> None:
        async for _ in request_iterator:
            await context.write(pb.StreamCheckResponse())

    async def BatchCheck(self, request: pb.BatchCheckRequest, context: object) -> pb.BatchCheckResponse:  # noqa: N802
        return pb.BatchCheckResponse()


async def main(target: str) -> None:
    server = grpc.aio.server()
    pb_grpc.add_CheckServiceServicer_to_server(Empty(), server)
    server.add_insecure_port(target)
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
