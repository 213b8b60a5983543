"""The service as a process: started with two settings, drained by a signal, gone with everything that it started."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

import grpc
import pytest
from partialstate.v1 import check_service_pb2 as checks
from partialstate.v1 import rooms_service_pb2 as rooms
from partialstate.v1 import types_pb2 as types
from support.api import connected, reconciliation, registration
from support.send_joins import sent_join

_START_S = 60
_END_S = 60


@dataclass
class Running:
    """A service process and its address."""

    process: asyncio.subprocess.Process
    address: str

    async def end(self, number: int) -> int:
        self.process.send_signal(number)
        return await asyncio.wait_for(self.process.wait(), _END_S)


@pytest.fixture
def environment(tmp_path):
    key = tmp_path / "signing.key"
    key.write_text("ed25519 a_test AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PARTIALSTATE_")}
    return clean | {
        "PARTIALSTATE_SERVER_NAME": "us.example",
        "PARTIALSTATE_SIGNING_KEY_PATH": str(key),
        "PARTIALSTATE_DATA_DIR": str(tmp_path / "data"),
        "PARTIALSTATE_LISTEN": "127.0.0.1:0",
        "PARTIALSTATE_RESYNC_PROCESSES": "1",
    }


@asynccontextmanager
async def service(environment: dict[str, str]) -> AsyncIterator[Running]:
    """Run `serve` until the block ends, whatever happens in it."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "partialstate_service", "serve"),
        env=environment,
        stderr=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
    )
    assert process.stderr is not None
    rest: asyncio.Task[None] | None = None
    try:
        async with asyncio.timeout(_START_S):
            address = (await _line_of(process.stderr, "serving"))["address"]
        rest = asyncio.create_task(_lines(process.stderr))
        yield Running(process, address)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        if rest is not None:
            await rest


async def _line_of(stream: asyncio.StreamReader, event: str) -> dict[str, str]:
    while line := await stream.readline():
        if (entry := json.loads(line)).get("event") == event:
            return entry
    raise AssertionError("the service ended")


async def _lines(stream: asyncio.StreamReader) -> None:
    while await stream.readline():
        pass


def descendants(pid: int) -> set[int]:
    """Return the processes that *pid* started, and those that they started."""
    parents: dict[int, int] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(status.parent.name)] = int(fields[1])
    found: set[int] = set()
    grown = {pid}
    while grown:
        grown = {child for child, parent in parents.items() if parent in grown} - found
        found |= grown
    return found


async def ended(pids: set[int]) -> None:
    """Return when none of the processes runs any more."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(_END_S):
        for pid in pids:
            try:
                handle = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            over = asyncio.Event()
            loop.add_reader(handle, over.set)
            try:
                await over.wait()
            finally:
                loop.remove_reader(handle)
                os.close(handle)


needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found in /proc")


@needs_proc
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
async def test_everything_it_started_ends_with_it(environment, number):
    async with service(environment) as running:
        started = descendants(running.process.pid)
        assert len(started) >= 2  # the store's supervisor, the store, a verifier
        status = await running.end(number)
        assert status == (-number if number == signal.SIGKILL else 0)
        await ended(started)


async def test_a_room_is_there_after_a_kill(environment):
    join = sent_join()
    async with service(environment) as running, grpc.aio.insecure_channel(running.address) as channel:
        api = connected(None, running.address, channel)
        registered = await api.rooms.RegisterPartialJoin(registration(join))
        await running.end(signal.SIGKILL)
    async with service(environment) as running, grpc.aio.insecure_channel(running.address) as channel:
        api = connected(None, running.address, channel)
        request = rooms.GetPartialRoomRequest(room_id=join.room_id)
        room = (await api.rooms.GetPartialRoom(request)).room
        assert room.generation == registered.generation
        assert room.status in (types.ROOM_STATUS_RESYNCING, types.ROOM_STATUS_STALLED)


async def test_a_second_service_on_the_same_data_says_so(environment):
    async with service(environment):
        second = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "partialstate_service", "serve"),
            env=environment,
            stderr=asyncio.subprocess.PIPE,
        )
        _, errors = await asyncio.wait_for(second.communicate(), _START_S)
        assert second.returncode == 1
        assert b"Traceback" not in errors
        assert environment["PARTIALSTATE_DATA_DIR"].encode() in errors


async def test_an_address_in_use_is_said_in_one_line(environment):
    async with service(environment) as running:
        taken = environment | {
            "PARTIALSTATE_LISTEN": running.address,
            "PARTIALSTATE_DATA_DIR": environment["PARTIALSTATE_DATA_DIR"] + "2",
        }
        second = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "partialstate_service", "serve"),
            env=taken,
            stderr=asyncio.subprocess.PIPE,
        )
        _, errors = await asyncio.wait_for(second.communicate(), _START_S)
    assert second.returncode == 1
    assert errors.decode().strip().splitlines()[-1].startswith(f"cannot listen on {running.address}")


async def test_metrics_tell_rooms_and_checks(environment, unused_tcp_port):
    environment["PARTIALSTATE_METRICS_LISTEN"] = f"127.0.0.1:{unused_tcp_port}"
    join = sent_join()
    async with service(environment) as running, grpc.aio.insecure_channel(running.address) as channel:
        api = connected(None, running.address, channel)
        listed = await api.rooms.ListPartialRooms(rooms.ListPartialRoomsRequest())
        await api.rooms.ReconcileRooms(reconciliation(listed.state_token, []))
        await api.rooms.RegisterPartialJoin(registration(join))
        check = checks.CheckRequest(
            endpoint=checks.ENDPOINT_MAKE_JOIN, origin="b.example", room_id=join.room_id
        )
        await api.check.Check(check)
        text = await asyncio.to_thread(_read, f"http://127.0.0.1:{unused_tcp_port}/metrics")
    assert 'partialstate_checks_total{endpoint="MAKE_JOIN",reason="JOIN_FAMILY",verdict="REFUSE"} 1.0' in text
    assert 'partialstate_rooms{status="ABANDONED"} 0.0' in text
    assert (
        sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith("partialstate_rooms{"))
        == 1
    )
    assert 'partialstate_resync_stages{stage="DONE"} 0.0' in text
    assert "partialstate_mirror_revision" in text
    assert "partialstate_event_loop_lag_seconds_count" in text
    [staleness] = [line for line in text.splitlines() if line.startswith("partialstate_mirror_staleness")]
    assert float(staleness.split()[1]) < _START_S


def _read(url: str) -> str:
    with urlopen(url, timeout=10) as response:
        return response.read().decode()
