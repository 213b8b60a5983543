"""A check is answered by a read that was issued after it arrived."""

import asyncio
import time

import pytest
from partialstate_service.domain.errors import StoreUnavailableError
from partialstate_service.domain.ids import EventId, Revision
from partialstate_service.store import read_index
from partialstate_service.store.keys import Keys
from partialstate_service.store.read_index import ReadIndex


class HeldServer:
    """A server whose answers are held until they are let go; each says what was committed when it was *issued*."""

    def __init__(self):
        self.committed = 0
        self.issued = asyncio.Queue()

    async def run(self, name, keys, arguments):
        answer = asyncio.get_running_loop().create_future()
        asked = list(arguments[2:])
        reply = [b"store", b"%d" % self.committed, b"chain", b"1", b"1", [], [b"!room:here"] * len(asked)]
        self.issued.put_nowait((answer, reply, asked))
        return await answer


class Replica:
    def __init__(self):
        self.revision = 0

    async def follow(self, reading):
        self.revision = reading.token.revision
        return True


@pytest.fixture
async def parts():
    server, replica = HeldServer(), Replica()
    index = ReadIndex(server, Keys("mps"), replica.follow, lambda: Revision(replica.revision), 60)
    task = asyncio.create_task(index.run())
    yield server, replica, index
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_read_in_flight_is_never_joined(parts):
    server, replica, index = parts
    early = asyncio.create_task(index.read([EventId("$a")]))
    first, first_reply, _ = await server.issued.get()
    server.committed = 5
    late = asyncio.create_task(index.read([EventId("$b")]))
    later = asyncio.create_task(index.read([EventId("$c")]))
    await asyncio.sleep(0)
    first.set_result(first_reply)
    assert await early == {"$a": "!room:here"}
    assert replica.revision == 0
    assert not late.done()
    second, second_reply, asked = await server.issued.get()
    assert asked == ["$b", "$c"]
    second.set_result(second_reply)
    assert await late == {"$b": "!room:here"}
    assert await later == {"$c": "!room:here"}
    assert replica.revision == 5


async def test_one_read_serves_all_who_wait(parts):
    server, _, index = parts
    first = asyncio.create_task(index.read(()))
    answer, reply, _ = await server.issued.get()
    many = [asyncio.create_task(index.read([EventId(f"${i}")])) for i in range(100)]
    await asyncio.sleep(0)
    answer.set_result(reply)
    await first
    answer, reply, asked = await server.issued.get()
    assert len(asked) == 100
    answer.set_result(reply)
    await asyncio.gather(*many)
    assert server.issued.empty()


async def test_who_gives_up_does_not_disturb_the_others(parts):
    server, _, index = parts
    impatient = asyncio.create_task(index.read(()))
    patient = asyncio.create_task(index.read(()))
    answer, reply, _ = await server.issued.get()
    impatient.cancel()
    answer.set_result(reply)
    await patient
    with pytest.raises(asyncio.CancelledError):
        await impatient


async def test_a_failed_read_fails_those_who_waited_for_it_only(parts):
    server, _, index = parts
    unlucky = [asyncio.create_task(index.read(())) for _ in range(3)]
    answer, _, _ = await server.issued.get()
    lucky = asyncio.create_task(index.read(()))
    await asyncio.sleep(0)
    answer.set_exception(StoreUnavailableError("gone"))
    for task in unlucky:
        with pytest.raises(StoreUnavailableError):
            await task
    answer, reply, _ = await server.issued.get()
    answer.set_result(reply)
    await lucky


async def test_nobody_waits_longer_than_the_time_for_reads_before_the_own_either(parts):
    server, _, index = parts
    index._timeout_s = 0.3
    loop = asyncio.get_running_loop()
    held = asyncio.create_task(index.read(()))
    answer, reply, _ = await server.issued.get()
    for _ in range(2):
        begun_s = loop.time()
        waits = [asyncio.create_task(index.read([EventId("$a")])) for _ in range(3)]
        for task in waits:
            with pytest.raises(StoreUnavailableError, match="in time"):
                await task
        assert 0.2 < loop.time() - begun_s < 2
    answer.set_result(reply)
    with pytest.raises(StoreUnavailableError, match="in time"):
        await held
    answer, reply, _ = await server.issued.get()
    answer.set_result(reply)
    again = asyncio.create_task(index.read([EventId("$b")]))
    answer, reply, _ = await server.issued.get()
    answer.set_result(reply)
    assert await again == {"$b": "!room:here"}


class CountingServer(HeldServer):
    """A server that answers at once."""

    def __init__(self):
        super().__init__()
        self.reads = 0

    async def run(self, name, keys, arguments):
        self.reads += 1
        return [b"store", b"0", b"chain", b"1", b"1", [], []]


@pytest.fixture
async def counted():
    server = CountingServer()

    async def follow(reading):
        return True

    index = ReadIndex(server, Keys("mps"), follow, lambda: Revision(0), 60)
    task = asyncio.create_task(index.run())
    yield server, index
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_checks_that_come_one_at_a_time_never_wait_for_others(counted, monkeypatch):
    server, index = counted
    monkeypatch.setattr(read_index, "_MOST_BETWEEN_READS_S", 3600)
    monkeypatch.setattr(read_index, "_BETWEEN_READS_S", 3600)
    async with asyncio.timeout(10):
        for _ in range(100):
            await index.read(())
    assert server.reads == 100


async def test_checks_that_come_together_share_few_reads(counted, monkeypatch):
    server, index = counted
    monkeypatch.setattr(read_index, "_MOST_BETWEEN_READS_S", 0.05)
    monkeypatch.setattr(read_index, "_BETWEEN_READS_S", 0.05)
    begun_s = time.monotonic()

    async def caller():
        while time.monotonic() - begun_s < 0.5:
            await index.read(())
            await asyncio.sleep(0)

    await asyncio.gather(*(caller() for _ in range(4)))
    assert 1 < server.reads <= 12
    # Once they come one at a time again, none waits for long.
    for _ in range(10):
        await index.read(())
    monkeypatch.setattr(read_index, "_MOST_BETWEEN_READS_S", 3600)
    monkeypatch.setattr(read_index, "_BETWEEN_READS_S", 3600)
    async with asyncio.timeout(10):
        for _ in range(100):
            await index.read(())


@pytest.mark.parametrize("is_busy", [False, True])
async def test_only_a_busy_process_lets_checks_wait_for_more(counted, monkeypatch, is_busy):
    server, index = counted
    monkeypatch.setattr(read_index, "_BETWEEN_READS_S", 0.01)
    monkeypatch.setattr(read_index, "_MOST_BETWEEN_READS_S", 0.1)
    monkeypatch.setattr(read_index, "_BUSY", -1 if is_busy else 1000)
    begun_s = time.monotonic()

    async def caller():
        while time.monotonic() - begun_s < 0.5:
            await index.read(())

    await asyncio.gather(*(caller() for _ in range(4)))
    assert (server.reads <= 8) is is_busy
