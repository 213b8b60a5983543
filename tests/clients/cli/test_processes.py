"""The command line as a process: interrupted, cut off from its reader, and over TLS."""

import asyncio
import signal
import sys
from contextlib import asynccontextmanager

import grpc
import trustme
from partialstate.cli.app import app
from partialstate.v1 import recovered_state_service_pb2 as recovered_pb
from partialstate.v1 import rooms_service_pb2 as rooms_pb
from partialstate.v1 import types_pb2
from partialstate.v1 import watch_service_pb2 as watch_pb
from support.fake_service import answering, running_fake, stalling, streaming
from typer.testing import CliRunner

PATIENCE_S = 30
ROOM = rooms_pb.PartialRoom(room_id="!r:a", status=types_pb2.ROOM_STATUS_RESYNCING)
LIST = rooms_pb.ListPartialRoomsResponse(rooms=[ROOM], state_token=types_pb2.StateToken(token="t1"))


@asynccontextmanager
async def process(*arguments: str):
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "partialstate.cli", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        # Whoever runs the tests in the background has SIGINT ignored, and that would be inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            yield running
    finally:
        if running.returncode is None:
            running.kill()
            await running.wait()


async def test_ctrl_c_ends_a_watch_quietly(fake):
    fake.on("ListPartialRooms", answering(LIST))
    change = watch_pb.WatchResponse(state_token=types_pb2.StateToken(token="t2"), changed=ROOM)
    fake.on("Watch", streaming(change, then=stalling()))
    async with process("watch", "--json", "--target", fake.target) as watching:
        for kind in (b'{"change":"listed"', b'{"change":"changed"'):
            assert (await watching.stdout.readline()).startswith(kind)
        watching.send_signal(signal.SIGINT)
        output, errors = await watching.communicate()
    assert (watching.returncode, output, errors) == (130, b"", b"")


async def test_a_reader_that_leaves_ends_the_command_without_a_traceback(fake):
    record = recovered_pb.StreamRecoveredStateResponse(
        position=1, event=recovered_pb.RecoveredEvent(pdu=types_pb2.Pdu(event_id="$m", json=b'{"a": 1}'))
    )
    fake.on("StreamRecoveredState", streaming(*[record] * 20_000))
    async with process("state", "!r:a", "--generation", "3", "--target", fake.target) as printing:
        await printing.stdout.readline()
        printing._transport.get_pipe_transport(1).close()
        errors = await printing.stderr.read()
        await printing.wait()
    assert b"Traceback" not in errors


def test_tls_with_a_client_certificate(tmp_path):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    server, operator = authority.issue_cert("127.0.0.1"), authority.issue_cert("operator.test")
    operator.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    for pem in operator.cert_chain_pems:
        pem.write_to_path(str(tmp_path / "cert.pem"), append=True)
    credentials = grpc.ssl_server_credentials(
        [(server.private_key_pem.bytes(), b"".join(pem.bytes() for pem in server.cert_chain_pems))],
        root_certificates=authority.cert_pem.bytes(),
        require_client_auth=True,
    )
    with running_fake(credentials) as fake:
        fake.on("ListPartialRooms", answering(LIST))
        files = [f"--{name}-file={tmp_path / name}.pem" for name in ("ca", "cert", "key")]
        result = CliRunner().invoke(app, ["rooms", "--target", fake.target, *files])
    assert result.exit_code == 0, result.stderr
    assert "!r:a" in result.stdout
