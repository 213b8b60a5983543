"""One real store per kind, topology and test process; each test finds it empty."""

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from partialstate_service.store.open import open_store
from partialstate_service.store.settings import StoreSettings
from support.patience import patiently
from support.store_server import ask, running_server, servers_here
from support.store_topologies import NEVER_MS, Deployment, cluster_store, sentinel_store


@contextmanager
def single_store(executable, directory, takeover_ms):
    del takeover_ms
    with running_server(executable, directory) as socket:
        yield Deployment(f"unix://{socket}", [SingleServer(socket)])


class SingleServer:
    def __init__(self, socket):
        self.socket = socket

    def role(self):
        return b"master"

    def ask(self, *words):
        return ask(self.socket, *words)


TOPOLOGIES = {"single": single_store, "sentinel": sentinel_store, "cluster": cluster_store}


def deployments():
    for executable in servers_here():
        for topology in TOPOLOGIES:
            name = f"{Path(executable).name}-{topology}"
            # In one test process each: the topologies are many processes.
            yield pytest.param((topology, executable), id=name, marks=pytest.mark.xdist_group(name))


@pytest.fixture(scope="session", params=deployments())
def deployment(request, tmp_path_factory):
    """A running store."""
    topology, executable = request.param
    with TOPOLOGIES[topology](executable, tmp_path_factory.mktemp("s"), NEVER_MS) as found:
        yield found


@pytest.fixture
def server_socket(deployment):
    """The socket of the server that has the registry."""
    return deployment.registry_node().socket


@pytest.fixture
def single_server(deployment):
    """Leave out the topologies: the test is about a server by itself."""
    if len(deployment.nodes) > 1:
        pytest.skip("about a single server")


@pytest.fixture
def settings(deployment, tmp_path):
    """Settings for the store, which is empty."""
    deployment.clear()
    return StoreSettings(data_dir=tmp_path, url=deployment.url, follow_interval_s=0.2)


@pytest.fixture
async def store(settings):
    """A store that may decide."""
    async with open_store(settings) as store:
        await patiently(store.registry.mark_reconciled)
        await patiently(lambda: store.mirror.fully_consistent(()))
        yield store


@pytest.fixture
async def replica(store, settings):
    """A second replica over the same store."""
    async with open_store(replace(settings)) as replica:
        yield replica
