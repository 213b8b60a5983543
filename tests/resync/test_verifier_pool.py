"""Processes that verify events die at any time, and nobody notices but by a delay."""

import asyncio
import os
import signal

import pytest
from partialstate_service.domain.ids import RoomId
from partialstate_service.resync.verification_task import VerdictKind
from partialstate_service.resync.verifier_pool import VerifierPool, available_cores, verifier_pool

ROOM = RoomId("!room:a.example")


def processes_of(pool: VerifierPool) -> list[int]:
    return list(pool._executor._processes)


async def test_a_chunk_whose_process_is_killed_is_verified_by_another():
    async with verifier_pool(1) as pool:
        for _ in range(2):
            work = asyncio.create_task(pool.verify_chunk([b"{}"] * 50, "11", ROOM, {}))
            await asyncio.sleep(0)
            for pid in processes_of(pool):
                os.kill(pid, signal.SIGKILL)
            verdicts = await work
            assert [verdict.kind for verdict in verdicts] == [VerdictKind.MALFORMED] * 50


async def test_a_process_killed_while_it_starts_does_not_end_the_service():
    pool = VerifierPool(1)
    try:
        warming = asyncio.create_task(pool.warm_up())
        await asyncio.sleep(0)
        for pid in processes_of(pool):
            os.kill(pid, signal.SIGKILL)
        await warming
        assert len(await pool.verify_chunk([b"{}"], "11", ROOM, {})) == 1
    finally:
        await asyncio.to_thread(pool.close)


async def test_no_process_is_left_at_the_end():
    async with verifier_pool(2) as pool:
        pids = processes_of(pool)
        assert len(pids) == 2
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.mark.parametrize(
    ("quota", "cores"), [("100000 100000", 1), ("max 100000", None), ("10000 100000", 1)]
)
def test_the_cores_are_those_of_the_container(tmp_path, quota, cores):
    cpu_max = tmp_path / "cpu.max"
    cpu_max.write_text(quota)
    assert available_cores(cpu_max) == (cores or available_cores(tmp_path / "absent"))
