"""What is acknowledged is on as many servers and disks as is asked for, whoever has written it."""

import re
import signal
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest
from partialstate_service.domain.errors import StoreUnavailableError
from partialstate_service.domain.ids import EventId, Generation, Position, ServerName
from partialstate_service.domain.rooms import ReleaseReason
from partialstate_service.store.open import Store, open_store
from partialstate_service.store.settings import StoreSettings
from partialstate_service.store.urls import UnsuitableStoreError
from support.store_rooms import JOIN, NOW, ROOM, claim, make_ready, recorded, register, resolve
from support.store_server import ask, servers_here
from support.store_topologies import server_process, until

KEPT = {"appendonly": "yes", "appendfsync": "always", "save": "", "repl-diskless-sync-delay": "0"}
# Valkey's: Redis 7.0 knows no WAITAOF.
EXECUTABLE = servers_here()[0]


@dataclass
class Pair:
    """A primary, its replica, and two stores over them that share no connection."""

    primary: object
    replica: object
    first: Store
    second: Store

    @contextmanager
    def without_replica(self):
        self.replica.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.replica.signal(signal.SIGCONT)


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    directory = tmp_path_factory.mktemp("a")
    with ExitStack() as stack:
        primary, replica = (
            stack.enter_context(server_process(EXECUTABLE, directory / name, KEPT)) for name in ("p", "r")
        )
        replica.ask("REPLICAOF", "127.0.0.1", str(primary.port))
        until(lambda: b"state=online" in primary.ask("INFO", "replication"))
        yield primary, replica


def are_equal(primary, replica):
    """Whether the replica has all that the primary has."""
    infos = [server.ask("INFO", "replication") for server in (primary, replica)]
    return len({re.search(rb"master_repl_offset:(\d+)", info)[1] for info in infos}) == 1


def settings_for(socket, tmp_path, **fields):
    return StoreSettings(
        data_dir=tmp_path,
        url=f"unix://{socket}",
        command_timeout_s=0.4,
        **fields,
    )


@pytest.fixture
async def pair(servers, tmp_path):
    primary, replica = servers
    primary.ask("FLUSHALL")
    until(lambda: are_equal(primary, replica))
    settings = settings_for(primary.socket, tmp_path, acknowledging_replicas=1)
    async with open_store(settings) as first, open_store(settings) as second:
        await first.registry.mark_reconciled()
        yield Pair(primary, replica, first, second)


async def registered(store):
    return (await register(store)).generation


async def ready(store):
    return await make_ready(store)


async def logged(store):
    generation = await registered(store)
    lease = await claim(store)
    return generation, await resolve(store, lease, records=2)


async def ended(store):
    generation, position = await make_ready(store)
    await store.registry.confirm_import(ROOM, generation, Position(position), NOW)


CALLS = {
    "register": (None, lambda store, _: register(store)),
    "register after the end": (ended, lambda store, _: register(store)),
    "confirm join": (registered, lambda store, generation: store.registry.confirm_join(ROOM, generation)),
    "hold join": (registered, lambda store, _: store.registry.hold_join(ROOM, JOIN)),
    "hold join after the end": (ended, lambda store, _: store.registry.hold_join(ROOM, JOIN)),
    "record": (
        registered,
        lambda store, _: store.registry.record_partial_events(ROOM, [recorded("$a", JOIN)], NOW),
    ),
    "record sent": (
        registered,
        lambda store, _: store.ledger.record(ROOM, [(EventId("$s"), [ServerName("one")])]),
    ),
    "leave": (
        registered,
        lambda store, generation: store.registry.release(ROOM, generation, ReleaseReason.LEFT, NOW),
    ),
    "purge": (
        registered,
        lambda store, generation: store.registry.release(ROOM, generation, ReleaseReason.PURGED, NOW),
    ),
    "acknowledge": (
        logged,
        lambda store, at: store.registry.acknowledge(ROOM, Generation(at[0]), Position(at[1])),
    ),
    "confirm import": (
        ready,
        lambda store, at: store.registry.confirm_import(ROOM, at[0], Position(at[1]), NOW),
    ),
    "mark reconciled": (None, lambda store, _: store.registry.mark_reconciled()),
}


@pytest.mark.parametrize(("before", "call"), CALLS.values(), ids=CALLS)
async def test_no_repetition_is_acknowledged_while_the_replica_may_lack_the_change(pair, before, call):
    given = None if before is None else await before(pair.first)
    with pair.without_replica():
        for store in (pair.first, pair.second, pair.second):
            with pytest.raises(StoreUnavailableError):
                await call(store, given)
    until(lambda: are_equal(pair.primary, pair.replica))
    await call(pair.second, given)


async def test_a_change_is_not_acknowledged_before_the_primary_has_it_on_its_disk(tmp_path):
    with server_process(EXECUTABLE, tmp_path / "s", KEPT) as server:
        settings = settings_for(server.socket, tmp_path, acknowledge_on_disk=True)
        async with open_store(settings) as store:
            await register(store)
            ask(server.socket, "CONFIG", "SET", "appendfsync", "no")
            with pytest.raises(StoreUnavailableError, match="did not answer, or refused"):
                await register(store)


async def test_a_store_that_never_syncs_by_itself_acknowledges_nothing_on_disk(tmp_path):
    with server_process(EXECUTABLE, tmp_path / "s", KEPT | {"appendfsync": "no"}) as server:
        with pytest.raises(UnsuitableStoreError, match="set appendfsync everysec or always"):
            async with open_store(settings_for(server.socket, tmp_path, acknowledge_on_disk=True)):
                pass
        async with open_store(settings_for(server.socket, tmp_path)) as store:
            await register(store)
