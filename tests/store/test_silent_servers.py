"""Servers that take connections and say nothing: whoever asks is told in time, and the next one asks another server."""

import asyncio
from dataclasses import replace

import pytest
from partialstate_service.domain.errors import StoreUnavailableError
from partialstate_service.store.nodes import Terms
from partialstate_service.store.open import open_store
from partialstate_service.store.server import Server
from partialstate_service.store.topologies import route_to
from partialstate_service.store.urls import Login, parse_store_url
from support.fault_proxy import unix_fault_proxy
from support.patience import patiently
from support.scripted_server import scripted

TIMEOUT_S = 0.5
SLACK_S = 0.5


def silent(command):
    return None


async def asked(server):
    """Return what comes of a command, and how long that took."""
    began_s = asyncio.get_running_loop().time()
    try:
        answer = await server.command("GET", "key")
    except StoreUnavailableError as error:
        answer = error
    return answer, asyncio.get_running_loop().time() - began_s


def server_at(url, connect_timeout_s):
    route = route_to(parse_store_url(url), Terms(Login(), None, connect_timeout_s, 60, 4))
    return route, Server(route, timeout_s=TIMEOUT_S)


@pytest.mark.parametrize("connect_timeout_s", [0.3, 60])
async def test_one_server(connect_timeout_s):
    async with scripted() as hung:
        hung.answer = silent
        route, server = server_at(f"redis://{hung.address}", connect_timeout_s)
        for _ in range(2):
            answer, took_s = await asked(server)
            assert isinstance(answer, StoreUnavailableError)
            assert took_s < TIMEOUT_S + SLACK_S
        route.close()


def bulks(*words):
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def answers_of_all_kinds(address):
    """Return the answers of a server that is a Sentinel, its primary, and a cluster by itself."""
    host, port = address.host.encode(), address.port

    def answer(command):
        match command:
            case ["SENTINEL", *_]:
                return bulks(host, b"%d" % port)
            case ["ROLE"]:
                return bulks(b"master")
            case ["CLUSTER", "SLOTS"]:
                return b"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$%d\r\n%s\r\n:%d\r\n" % (
                    len(host),
                    host,
                    port,
                )
        return b"+OK\r\n"

    return answer


@pytest.mark.parametrize("url", ["redis+sentinel://{},{},{}/main", "redis+cluster://{},{},{}"])
async def test_one_more_of_several_is_passed_over_at_each_attempt(url):
    async with scripted() as first, scripted() as second, scripted() as third:
        first.answer = second.answer = silent
        third.answer = answers_of_all_kinds(third.address)
        route, server = server_at(url.format(first.address, second.address, third.address), 60)
        for _ in range(2):
            answer, took_s = await asked(server)
            assert isinstance(answer, StoreUnavailableError)
            assert took_s < TIMEOUT_S + SLACK_S
        assert (await asked(server))[0] == b"OK"
        route.close()


@pytest.mark.usefixtures("single_server")
async def test_a_check_never_waits_longer_than_a_command_may(settings, server_socket, tmp_path):
    async with unix_fault_proxy(server_socket, str(tmp_path / "proxy.sock")) as proxy:
        hung = replace(settings, url=f"unix://{tmp_path}/proxy.sock", command_timeout_s=TIMEOUT_S)
        async with open_store(hung) as store:
            await store.registry.mark_reconciled()
            await store.mirror.fully_consistent(())
            proxy.silence()
            loop = asyncio.get_running_loop()
            for _ in range(4):
                began_s = loop.time()
                with pytest.raises(StoreUnavailableError):
                    await store.mirror.fully_consistent(())
                assert loop.time() - began_s < TIMEOUT_S + SLACK_S
            proxy.heal()
            await patiently(lambda: store.mirror.fully_consistent(()), 20)
