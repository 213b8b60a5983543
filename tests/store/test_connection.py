"""The store refuses a server that it could not trust, and says what to change."""

from dataclasses import replace

import pytest
from partialstate_service.domain.errors import StoreUnavailableError
from partialstate_service.store.open import open_store
from partialstate_service.store.settings import StoreSettings
from partialstate_service.store.urls import UnsuitableStoreError
from support.store_rooms import register
from support.store_server import ask

pytestmark = pytest.mark.usefixtures("single_server")


@pytest.fixture
def configured(server_socket):
    """Change the server's configuration for one test."""
    before = {}

    def configure(name, value):
        before.setdefault(name, ask(server_socket, "CONFIG", "GET", name).split(b"\r\n")[-2].decode())
        assert ask(server_socket, "CONFIG", "SET", name, value) == b"+OK\r\n"

    yield configure
    for name, value in before.items():
        ask(server_socket, "CONFIG", "SET", name, value)


async def opened(settings):
    async with open_store(settings) as store:
        return await register(store)


async def test_one_that_may_evict(settings, configured):
    configured("maxmemory-policy", "allkeys-lru")
    with pytest.raises(UnsuitableStoreError, match="set maxmemory-policy noeviction"):
        await opened(settings)


async def test_one_that_does_not_persist_unless_it_is_allowed(settings, configured):
    configured("appendonly", "no")
    with pytest.raises(UnsuitableStoreError, match="set appendonly yes"):
        await opened(settings)
    await opened(replace(settings, allow_unpersisted=True))


async def test_a_replica(settings, server_socket):
    ask(server_socket, "REPLICAOF", "127.0.0.1", "1")
    try:
        with pytest.raises(UnsuitableStoreError, match="is a replica"):
            await opened(settings)
    finally:
        ask(server_socket, "REPLICAOF", "NO", "ONE")


async def test_one_that_is_not_there(tmp_path):
    absent = StoreSettings(data_dir=tmp_path, url=f"unix://{tmp_path}/absent.sock", start_timeout_s=0.3)
    with pytest.raises(StoreUnavailableError, match="not reachable"):
        await opened(absent)


async def test_an_address_that_is_no_url_of_a_store(tmp_path):
    with pytest.raises(UnsuitableStoreError, match="must begin with"):
        await opened(StoreSettings(data_dir=tmp_path, url="http://localhost"))


async def test_a_store_of_a_newer_release(settings, server_socket):
    ask(server_socket, "HSET", "mps:{registry}:meta", "store_id", "x", "schema", "2")
    with pytest.raises(UnsuitableStoreError, match="newer release"):
        await opened(settings)


async def test_full_memory_is_no_decision_and_nothing_half_written(settings, configured, server_socket):
    async with open_store(settings) as store:
        before = await store.registry.read_token()
        configured("maxmemory", "1")
        with pytest.raises(StoreUnavailableError):
            await register(store)
        ask(server_socket, "CONFIG", "SET", "maxmemory", "0")
        assert await store.registry.read_token() == before
        await register(store)
