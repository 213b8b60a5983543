"""Processes that figures are measured on: started, measured from outside, and ended by their id."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Measured:
    """A running process; figures are of it alone or with its children."""

    pid: int
    output: asyncio.StreamReader

    def cpu_s(self, *, with_children: bool = False) -> float:
        """Return the CPU time that it has used so far, user and system."""
        pids = self._family() if with_children else [self.pid]
        return sum(_cpu_s(pid) for pid in pids)

    def memory_mib(self) -> float:
        """Return its resident memory now."""
        return _status_kib(self.pid, "VmRSS") / 1024

    def peak_memory_mib(self) -> float:
        """Return the most resident memory that it has had."""
        return _status_kib(self.pid, "VmHWM") / 1024

    def _family(self) -> list[int]:
        family = [self.pid]
        for pid in family:
            for task in Path(f"/proc/{pid}/task").glob("*/children"):
                family += [int(child) for child in task.read_text().split()]
        return family


@asynccontextmanager
async def measured_process(
    command: Sequence[str], environment: Mapping[str, str] | None = None
) -> AsyncIterator[Measured]:
    """Run `python COMMAND` within the block; its standard error is ours."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, **(environment or {})},
    )
    assert process.stdout is not None
    try:
        yield Measured(process.pid, process.stdout)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(process.wait(), 20)
            except TimeoutError:
                process.kill()
                await process.wait()


def _cpu_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):  # the latter if it ends while it is read
        return 0.0
    # Fields 14 and 15 of proc(5), counted from 1; the name and what precedes it are cut off.
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def _status_kib(pid: int, name: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name):
            return float(line.split()[1])
    return 0.0
