"""One real server per kind and test process; each test finds it empty."""

from dataclasses import replace
from pathlib import Path

import pytest
from partialstate_service.store.open import open_store
from partialstate_service.store.settings import StoreSettings
from support.store_server import ask, running_server, servers_here


@pytest.fixture(scope="session", params=servers_here(), ids=lambda path: Path(path).name)
def server_socket(request, tmp_path_factory):
    """The socket of a running server."""
    with running_server(request.param, tmp_path_factory.mktemp("store")) as path:
        yield path


@pytest.fixture
def settings(server_socket, tmp_path):
    """Settings for the server, which is empty."""
    assert ask(server_socket, "FLUSHALL") == b"+OK\r\n"
    return StoreSettings(data_dir=tmp_path, url=f"unix://{server_socket}", follow_interval_s=0.2)


@pytest.fixture
async def store(settings):
    """A store that may decide."""
    async with open_store(settings) as store:
        await store.registry.mark_reconciled()
        await store.mirror.fully_consistent(())
        yield store


@pytest.fixture
async def replica(store, settings):
    """A second replica over the same store."""
    async with open_store(replace(settings)) as replica:
        yield replica
