"""A connection to a server of the store: what is said, what an answer is, and how it ends."""

import asyncio
import socket
import struct
import warnings

import pytest
from partialstate_service.store.exchange import (
    ConnectionLostError,
    NotConnectedError,
    ReplyError,
    open_connection,
)
from partialstate_service.store.nodes import Node, Terms
from partialstate_service.store.topologies import route_to
from partialstate_service.store.urls import Address, Login, parse_store_url
from support.scripted_server import scripted
from support.tls import make_ca, server_context, write_ca_file

PING = ("PING",)
REFUSALS = [
    "MOVED 3999 10.0.0.1:6381",
    "ASK 3999 :6381",
    "LOADING Redis is loading the dataset in memory",
    "NOAUTH Authentication required.",
    "NOPERM this user has no permissions to run the 'eval' command",
    "NOREPLICAS Not enough good replicas to write.",
    "NOSCRIPT No matching script. Please use EVAL.",
    "ERR wrong number of arguments for 'auth' command",
    "ERR value is not an integer or out of range",
    "BUSY Redis is busy running a script.",
]


@pytest.fixture
async def server():
    async with scripted() as server:
        yield server


@pytest.fixture
async def connection(server):
    connection = await open_connection(server.address, Login(), None, 5)
    server.commands.clear()
    yield connection
    connection.close()


async def until_unusable(connection):
    async with asyncio.timeout(10):
        while await connection.is_usable():  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0)


class TestOpening:
    async def test_says_who_it_is_and_nothing_else(self, server):
        connection = await open_connection(server.address, Login("user", "secret", 3), None, 5)
        connection.close()
        assert server.commands == [
            ["AUTH", "user", "secret"],
            ["SELECT", "3"],
            ["CLIENT", "SETNAME", "partialstate"],
        ]

    async def test_without_a_login_only_tells_the_name(self, server):
        (await open_connection(server.address, Login(), None, 5)).close()
        assert server.commands == [["CLIENT", "SETNAME", "partialstate"]]

    async def test_bears_a_server_that_forbids_client(self, server):
        server.answer = lambda command: b"-NOPERM no\r\n" if command[0] == "CLIENT" else b"+PONG\r\n"
        connection = await open_connection(server.address, Login(), None, 5)
        assert await connection.exchange([PING]) == [b"PONG"]
        connection.close()

    @pytest.mark.parametrize(
        ("refused", "answer"),
        [
            ("AUTH", b"-WRONGPASS invalid username-password pair or user is disabled.\r\n"),
            ("SELECT", b"-ERR DB index is out of range\r\n"),
            ("CLIENT", b"-ERR max number of clients reached\r\n"),
        ],
    )
    async def test_without_being_let_in_is_none(self, server, refused, answer):
        server.answer = lambda command: answer if command[0] == refused else b"+OK\r\n"
        with pytest.raises(NotConnectedError) as refusal:
            await open_connection(server.address, Login("user", "secret", 3), None, 5)
        assert "secret" not in str(refusal.value)
        await server.all_ended()

    async def test_takes_no_longer_than_its_time(self, server):
        server.answer = lambda command: None
        with pytest.raises(NotConnectedError):
            await open_connection(server.address, Login(), None, 0.05)
        await server.all_ended()

    async def test_of_a_socket_that_is_not_there(self, tmp_path):
        with pytest.raises(NotConnectedError, match=r"absent\.sock"):
            await open_connection(Address(str(tmp_path / "absent.sock"), 0), Login(), None, 5)


class TestReplies:
    @pytest.mark.parametrize("text", REFUSALS)
    async def test_a_refusal_is_a_reply_with_all_its_text_and_the_next_reply_is_the_next_commands(
        self, server, connection, text
    ):
        server.answer = lambda command: f"-{text}\r\n".encode() if command == ["PING"] else b":7\r\n"
        refusal, other = await connection.exchange([PING, ("GET", "a")])
        assert isinstance(refusal, ReplyError)
        assert (str(refusal), other) == (text, 7)
        assert await connection.exchange([("GET", "a")]) == [7]
        assert server.connections == 1

    async def test_arguments_arrive_as_they_are(self, server, connection):
        await connection.exchange([("SET", "a key", "\u00e9\r\n", -5), ("SET", b"raw", b"")])
        assert server.commands == [["SET", "a key", "\u00e9\r\n", "-5"], ["SET", "raw", ""]]


class TestAnEnd:
    async def test_before_the_reply_leaves_open_what_was_done_and_nothing_is_sent_again(
        self, server, connection
    ):
        server.answer = lambda command: server.writers[-1].transport.abort()
        with pytest.raises(ConnectionLostError):
            await connection.exchange([PING])
        assert not await connection.is_usable()
        with pytest.raises(NotConnectedError):
            await connection.exchange([PING])
        assert (server.commands, server.connections) == ([["PING"]], 1)

    async def test_by_what_is_no_reply(self, server, connection):
        server.answer = lambda command: b"HTTP/1.1 400 Bad Request\r\n"
        with pytest.raises(ConnectionLostError):
            await connection.exchange([PING])
        await server.all_ended()

    @pytest.mark.parametrize("how", ["closed", "reset", "unasked bytes"])
    async def test_in_between_is_noticed_and_nothing_is_sent(self, server, connection, how):
        writer = server.writers[-1]
        if how == "unasked bytes":
            writer.write(b"+PONG\r\n")
        else:
            if how == "reset":
                linger = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
        await until_unusable(connection)
        with pytest.raises(NotConnectedError):
            await connection.exchange([PING])
        assert server.commands == []

    async def test_of_kept_connections_costs_a_node_nothing(self, server):
        terms = Terms(Login(), None, connect_timeout_s=5, command_timeout_s=5, max_connections=3)
        node = Node(server.address, terms)
        await asyncio.gather(*(node.exchange([PING]) for _ in range(3)))
        for writer in server.writers:
            writer.transport.abort()
        await server.all_ended()
        for connection in node._idle:
            await until_unusable(connection)
        assert await node.exchange([PING]) == [b"OK"]
        assert server.connections == 4
        node.close()

    async def test_of_all_connections_is_for_good(self, server):
        terms = Terms(Login(), None, connect_timeout_s=5, command_timeout_s=5, max_connections=3)
        route = route_to(parse_store_url(f"redis+cluster://{server.address}"), terms)
        assert await route.at(server.address).exchange([PING]) == [b"OK"]
        route.close()
        # Whoever is still at work may finish it, but nobody would close what it keeps.
        late = route.at(server.address)
        assert await late.exchange([PING]) == [b"OK"]
        assert not late._idle

    async def test_of_an_exchange_out_of_time_sends_no_more_of_it(self, server, connection):
        size = 64 << 20
        server.writers[-1].transport.pause_reading()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await connection.exchange([("SET", "key", bytes(size))])
        server.writers[-1].transport.resume_reading()
        await server.all_ended()
        assert server.commands == []


class TestCancellation:
    """Whenever it comes, it ends the task and the connection: at each pass of the event loop, until there is no more."""

    async def cancelled_at_each_pass(self, server, work):
        """Return at how many passes a task was still there to be cancelled."""
        for passes in range(200):
            connections = []
            task = asyncio.create_task(work(connections))
            for _ in range(passes):
                await asyncio.sleep(0)
            was_running = task.cancel()
            [outcome] = await asyncio.gather(task, return_exceptions=True)
            assert isinstance(outcome, asyncio.CancelledError) == was_running, passes
            for connection in connections:
                assert connection.is_connected != was_running, passes
                connection.close()
            await server.all_ended()
            if not was_running:
                return passes
        pytest.fail("it does not end")

    async def test_of_an_opening(self, server):
        async def work(connections):
            connections.append(await open_connection(server.address, Login("user", "secret", 3), None, 5))

        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert await self.cancelled_at_each_pass(server, work) > 5

    async def test_of_an_exchange(self, server):
        async def work(connections):
            # Done when the task is, at the same pass, or the cancellation was of the opening.
            connections.append(await open_connection(server.address, Login(), None, 5))
            async with asyncio.timeout(5):
                await connections[0].exchange([PING, PING])

        assert await self.cancelled_at_each_pass(server, work) > 5


class TestTLS:
    def url(self, server, ca_file, host="127.0.0.1"):
        return parse_store_url(f"rediss://{host}:{server.address.port}?ssl_ca_certs={ca_file}")

    async def opened(self, url):
        connection = await open_connection(url.addresses[0], url.login, url.tls, 5)
        try:
            return await connection.exchange([PING])
        finally:
            connection.close()

    async def test_by_the_named_authority(self, tmp_path):
        ca = make_ca()
        async with scripted(server_context(ca, ["127.0.0.1"])) as server:
            assert await self.opened(self.url(server, write_ca_file(ca, tmp_path))) == [b"OK"]

    async def test_of_another_host_is_refused(self, tmp_path):
        ca = make_ca()
        async with scripted(server_context(ca, ["127.0.0.2"])) as server:
            with pytest.raises(NotConnectedError):
                await self.opened(self.url(server, write_ca_file(ca, tmp_path)))
            assert server.commands == []

    async def test_of_an_authority_that_the_machine_trusts_but_is_not_named_is_refused(
        self, tmp_path, monkeypatch
    ):
        public, own = make_ca(), make_ca()
        (tmp_path / "public").mkdir()
        monkeypatch.setenv("SSL_CERT_FILE", str(write_ca_file(public, tmp_path / "public")))
        async with scripted(server_context(public, ["127.0.0.1"])) as server:
            with pytest.raises(NotConnectedError):
                await self.opened(self.url(server, write_ca_file(own, tmp_path)))
            assert server.commands == []
