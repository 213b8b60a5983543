"""A gRPC server of the same stack whose handlers do nothing: the floor of what a check can cost."""

import asyncio
import sys

import grpc
from partialstate.v1 import check_service_pb2 as pb
from partialstate.v1 import check_service_pb2_grpc as pb_grpc


class Empty(pb_grpc.CheckServiceServicer):
    """Answers at once, with nothing."""

    async def Check(self, request: pb.CheckRequest, context: object) -> pb.CheckResponse:  # noqa: N802
        return pb.CheckResponse()


async def main(target: str) -> None:
    server = grpc.aio.server()
    pb_grpc.add_CheckServiceServicer_to_server(Empty(), server)
    server.add_insecure_port(target)
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
