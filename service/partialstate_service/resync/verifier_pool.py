"""The processes that verify events, so that every core works and the event loop never stalls.

One task is one chunk of bytes; a killed process is replaced and its chunk repeated; none outlives its parent.
"""

import asyncio
import multiprocessing
import os
import signal
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from types import MappingProxyType

from partialstate_service.domain.ids import EventId, RoomId, ServerName
from partialstate_service.matrix.event_core import PackedEvent
from partialstate_service.matrix.keys import ServerKeys
from partialstate_service.resync.garbage import look_for_garbage_seldom
from partialstate_service.resync.verification_task import EventVerdict, verify_chunk

_ATTEMPTS = 5
"""How often a chunk is begun whose process dies; a chunk that kills every process must not be repeated for ever."""
_NICENESS = 5
_CGROUP_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")


def available_cores(cpu_max: Path = _CGROUP_CPU_MAX) -> int:
    """Return how many cores this process may use: the container's quota, not the host's count."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = cpu_max.read_text().split()
        return max(1, min(cores, round(int(quota) / int(period))))
    except (OSError, ValueError):
        # No cgroup, or its quota is "max".
        return cores


class VerifierPool:
    """Runs `verify_chunk` in *processes* processes. Use `verifier_pool`."""

    def __init__(self, processes: int) -> None:
        self._processes = processes
        self._gate = asyncio.Semaphore(self.at_once)
        self._executor = self._new_executor()

    @property
    def at_once(self) -> int:
        """How many chunks are in flight at most: one in work for each process, and one that waits."""
        return 2 * self._processes

    async def verify_chunk(
        self,
        bodies: Sequence[bytes],
        version: str,
        room_id: RoomId,
        keys: Mapping[ServerName, ServerKeys],
        auth_events: Mapping[EventId, PackedEvent] = MappingProxyType({}),
    ) -> list[EventVerdict]:
        """Return the verdicts of `verification_task.verify_chunk`."""
        loop = asyncio.get_running_loop()
        # A view of a mapping cannot be sent to another process.
        work = partial(verify_chunk, bodies, version, room_id, keys, dict(auth_events))
        async with self._gate:
            for _ in range(_ATTEMPTS - 1):
                executor = self._executor
                try:
                    return await loop.run_in_executor(executor, work)
                except BrokenProcessPool:
                    self._replace(executor)
            return await loop.run_in_executor(self._executor, work)

    async def warm_up(self) -> None:
        """Start all processes now, so that the first room does not wait for them."""
        for _ in range(_ATTEMPTS - 1):
            executor = self._executor
            try:
                return await self._started(executor)
            except BrokenProcessPool:
                # One that dies while it starts is replaced as any other is: it must not end the service.
                self._replace(executor)
        return await self._started(self._executor)

    async def _started(self, executor: ProcessPoolExecutor) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(loop.run_in_executor(executor, os.getpid) for _ in range(self._processes)))

    def close(self) -> None:
        """End the processes; chunks in work are given up."""
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _replace(self, broken: ProcessPoolExecutor) -> None:
        """Make new processes in place of *broken* ones, unless another chunk's failure has done so already."""
        if self._executor is broken:
            self._executor = self._new_executor()
            broken.shutdown(wait=False, cancel_futures=True)

    def _new_executor(self) -> ProcessPoolExecutor:
        # Spawned, not forked: gRPC's threads do not survive a fork.
        return ProcessPoolExecutor(
            self._processes,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_set_up,
        )


@asynccontextmanager
async def verifier_pool(processes: int) -> AsyncIterator[VerifierPool]:
    """Yield a pool of *processes* started processes; all have ended at the end."""
    pool = VerifierPool(processes)
    try:
        await pool.warm_up()
        yield pool
    finally:
        await asyncio.to_thread(pool.close)


def _set_up() -> None:
    """Make this process one that works in the background, and that ends as soon as its parent has."""
    look_for_garbage_seldom()
    # A Ctrl-C in the terminal goes to every process of the group; it is for the parent to end us in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Every core may be busy with verification; the event loop, which answers frontends, goes first.
    os.nice(_NICENESS)
    _end_with_parent()


def _end_with_parent() -> None:
    # Also if the parent is killed by SIGKILL: the pipe to it breaks then.
    parent = multiprocessing.parent_process()

    def wait() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True, name="end with parent").start()
