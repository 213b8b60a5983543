"""One embedded store server for all scenarios; each has a store of its own on it."""

import pytest
import pytest_asyncio
from partialstate_service.store.embedded import embedded_server
from partialstate_service.store.settings import StoreSettings
from support.scenarios import scenario


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def store_url(tmp_path_factory):
    """The URL of a running server."""
    async with embedded_server(StoreSettings(data_dir=tmp_path_factory.mktemp("store"))) as url:
        yield url


@pytest.fixture
def version():
    """The room's version, unless a test asks for others."""
    return "11"


@pytest_asyncio.fixture
async def room(store_url, tmp_path, version):
    """A homeserver that can join the room of a small world."""
    async with scenario(store_url, tmp_path, version=version) as running:
        yield running
