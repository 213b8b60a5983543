"""One embedded store server for all tests of the API; each test has a store of its own on it."""

import pytest_asyncio
from partialstate_service.store.embedded import embedded_server
from partialstate_service.store.settings import StoreSettings
from support.api import running_api


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def store_url(tmp_path_factory):
    """The URL of a running server."""
    async with embedded_server(StoreSettings(data_dir=tmp_path_factory.mktemp("store"))) as url:
        yield url


@pytest_asyncio.fixture
async def api(store_url):
    """The API over an empty, reconciled store."""
    async with running_api(store_url) as running:
        yield running
