"""The embedded server: private, durable, alone on its data, and gone when we are."""

import asyncio
import inspect
import logging
import os
import signal
import stat
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from partialstate_service.domain.errors import StoreUnavailableError
from partialstate_service.store import supervisor
from partialstate_service.store.embedded import EmbeddedStoreError, embedded_server
from partialstate_service.store.open import open_store
from partialstate_service.store.settings import StoreSettings
from support.loading_server import loading_server
from support.patience import patiently
from support.store_rooms import ROOM, join, register
from support.store_server import ask, servers_here

# A service of its own: registers rooms one by one and says each, once it is acknowledged.
SERVICE = """
import asyncio, sys
from pathlib import Path
from partialstate_service.store.open import open_store
from partialstate_service.store.settings import StoreSettings
from support.store_rooms import join, register

async def main():
    async with open_store(StoreSettings(data_dir=Path(sys.argv[1]), embedded_executable=sys.argv[2])) as store:
        print("open", flush=True)
        for i in range(100_000):
            await register(store, join(f"!{i}:here", f"$join-{i}"))
            print(i, flush=True)

asyncio.run(main())
"""


@pytest.fixture(params=servers_here(), ids=lambda path: Path(path).name)
def settings(request, tmp_path):
    return StoreSettings(data_dir=tmp_path / "data", embedded_executable=request.param, start_timeout_s=20)


@asynccontextmanager
async def running_service(settings):
    """Yield a service process that has opened its store."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SERVICE, str(settings.data_dir), settings.embedded_executable),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
    )
    try:
        assert await process.stdout.readline() == b"open\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def acknowledged(process, count):
    """Return the last of *count* rooms that the service says it has registered."""
    for _ in range(count - 1):
        await process.stdout.readline()
    return int(await process.stdout.readline())


def server_pid(settings):
    info = ask(str(settings.data_dir / "store.sock"), "INFO", "server").decode()
    return next(int(line.split(":")[1]) for line in info.splitlines() if line.startswith("process_id"))


async def until(condition, timeout_s=15):
    """Wait for what another process does."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - another process tells us nothing
            await asyncio.sleep(0.02)


def is_alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):  # the latter if it ends while it is read
        return False
    return state != "Z"


async def test_what_was_written_is_there_after_a_restart(settings):
    async with open_store(settings) as store:
        await register(store)
        token = await store.registry.mark_reconciled()
    async with open_store(settings) as store:
        await store.mirror.fully_consistent(())
        assert set(store.mirror.rooms) == {ROOM}
        assert await store.registry.read_token() == token


async def test_nobody_else_may_enter(settings):
    async with open_store(settings):
        assert stat.S_IMODE(settings.data_dir.stat().st_mode) == 0o700
        assert stat.S_IMODE((settings.data_dir / "store.sock").stat().st_mode) == 0o700


async def test_a_second_instance_is_refused_clearly_and_harms_nothing(settings):
    async with open_store(settings) as store:
        with pytest.raises(
            EmbeddedStoreError, match=rf"in use by another instance \(process {os.getpid()}\)"
        ):
            async with open_store(settings):
                pass
        await register(store)


async def test_a_long_data_directory_still_has_a_socket(settings, tmp_path):
    long = StoreSettings(data_dir=tmp_path / ("long" * 30), embedded_executable=settings.embedded_executable)
    async with open_store(long) as store:
        await register(store)


async def test_a_server_that_cannot_start_says_why(settings):
    settings.data_dir.mkdir(mode=0o700)
    (settings.data_dir / "appendonlydir").write_text("not a directory")
    with pytest.raises(EmbeddedStoreError, match="ended with 1"):
        async with open_store(settings):
            pass


@pytest.fixture
def loading(tmp_path):
    """Return settings with a server that loads its data twice as long as a server may be silent, or only is silent."""

    def settings_of(*, says):
        executable = loading_server(tmp_path, loading_s=2, says=says)
        return StoreSettings(
            data_dir=tmp_path / "data", embedded_executable=executable, start_timeout_s=1, stop_grace_s=1
        )

    return settings_of


async def test_a_server_that_loads_its_data_is_waited_for(loading):
    began = time.monotonic()
    async with embedded_server(loading(says=True)):
        assert time.monotonic() - began > 2


async def test_a_server_that_says_nothing_is_given_up(loading):
    with pytest.raises(EmbeddedStoreError, match="did not answer within 1 s"):
        async with embedded_server(loading(says=False)):
            pass


async def test_a_server_that_loads_says_how_far_it_is(loading, monkeypatch, caplog, tmp_path):
    # The supervisor is a program of its own.
    impatient = tmp_path / "supervisor.py"
    text = inspect.getsource(supervisor)
    impatient.write_text(text.replace("_TELL_LOADING_S = 10.0", "_TELL_LOADING_S = 0.3"))
    monkeypatch.setattr(supervisor, "__file__", str(impatient))
    with caplog.at_level(logging.INFO):
        async with embedded_server(loading(says=True)):
            pass
    assert "the embedded server still loads its data: 12.34 %" in caplog.messages


async def test_a_killed_server_comes_back_with_every_acknowledged_write(settings):
    async with open_store(settings) as store:
        await store.registry.mark_reconciled()
        for i in range(20):
            await register(store, join(f"!{i}:here", f"$join-{i}"))
        os.kill(server_pid(settings), signal.SIGKILL)
        await patiently(lambda: store.mirror.fully_consistent(()), 20)
        assert len(store.mirror.rooms) == 20
        await register(store)


async def test_the_server_ends_when_the_service_is_killed_and_nothing_is_lost(settings):
    async with running_service(settings) as process:
        last = await acknowledged(process, 30)
        pid = server_pid(settings)
        process.kill()
        await until(lambda: not is_alive(pid))
    async with open_store(settings) as store:
        assert len(store.mirror.rooms) >= last + 1


async def test_service_and_server_killed_at_once_lose_nothing(settings):
    async with running_service(settings) as process:
        last = await acknowledged(process, 30)
        os.kill(server_pid(settings), signal.SIGKILL)
        process.kill()
    async with open_store(settings) as store:
        assert len(store.mirror.rooms) >= last + 1


async def test_a_server_that_a_killed_supervisor_left_behind_is_replaced(settings):
    async with running_service(settings) as process:
        await acknowledged(process, 3)
        pid = server_pid(settings)
        supervisor = int((settings.data_dir / "lock").read_text().splitlines()[1])
        os.kill(supervisor, signal.SIGKILL)
        process.kill()
        await process.wait()
        assert is_alive(pid)
    began = time.monotonic()
    async with open_store(settings) as store:
        assert len(store.mirror.rooms) >= 3
    assert not is_alive(pid)
    assert time.monotonic() - began < 10


async def lose_the_supervisor(settings, seen):
    async with open_store(settings) as store:
        await register(store)
        seen.append(server_pid(settings))
        os.kill(int((settings.data_dir / "lock").read_text().splitlines()[1]), signal.SIGKILL)
        await asyncio.Event().wait()


async def test_the_end_of_the_supervisor_is_the_end_of_the_store_and_of_its_server(settings):
    seen = []
    with pytest.raises(ExceptionGroup) as raised:
        await lose_the_supervisor(settings, seen)
    assert raised.group_contains(EmbeddedStoreError, match="supervisor")
    await until(lambda: not is_alive(seen[0]))


async def test_a_server_that_hangs_is_no_decision_until_it_answers_again(settings):
    async with open_store(replace(settings, command_timeout_s=0.3)) as store:
        await store.registry.mark_reconciled()
        pid = server_pid(settings)
        os.kill(pid, signal.SIGSTOP)
        try:
            for call in (store.mirror.fully_consistent(()), register(store)):
                with pytest.raises(StoreUnavailableError):
                    await call
        finally:
            os.kill(pid, signal.SIGCONT)
        await store.mirror.fully_consistent(())


async def test_the_lock_names_its_holder(settings):
    async with open_store(settings):
        service, supervisor, server_socket = (settings.data_dir / "lock").read_text().splitlines()
        assert int(service) == os.getpid()
        assert is_alive(int(supervisor))
        assert server_socket == str(settings.data_dir / "store.sock")
