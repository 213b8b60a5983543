"""A small HTTPS server on loopback whose every answer a test decides."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Seen:
    """One request as it arrived."""

    method: str
    raw_path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class HttpsPeer:
    """A running server: where it listens, what it was asked, and how it answers (replaceable at any time)."""

    host: str
    port: int
    answer: Answer
    seen: list[Seen] = field(default_factory=list)
    connections: int = 0

    @property
    def authority(self) -> str:
        """Address and port, which is a server name too."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def paths(self) -> list[str]:
        """The raw paths asked for, in order."""
        return [seen.raw_path for seen in self.seen]


def json_answer(value: object, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    """Return an answer with *value* as JSON."""

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response(value, status=status, headers=headers)

    return answer


def bytes_answer(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    """Return an answer with exactly *body*."""

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(body=body, status=status, headers=headers)

    return answer


def by_path(answers: dict[str, Answer]) -> Answer:
    """Return an answer by the decoded path; 404 M_UNRECOGNIZED for any other."""

    async def answer(request: web.Request) -> web.StreamResponse:
        chosen = answers.get(request.path)
        if chosen is None:
            return web.json_response({"errcode": "M_UNRECOGNIZED"}, status=404)
        return await chosen(request)

    return answer


@asynccontextmanager
async def https_peer(
    tls: ssl.SSLContext, answer: Answer | None = None, *, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[HttpsPeer]:
    """Yield a server on *host*; without *answer* it says 404 to everything."""
    peer = HttpsPeer(host, 0, by_path({}) if answer is None else answer)

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        assert isinstance(request, web.Request | web.BaseRequest)
        peer.seen.append(Seen(request.method, request.raw_path, dict(request.headers), await request.read()))
        return await peer.answer(request)  # type: ignore[arg-type]

    runner = web.ServerRunner(web.Server(handle, access_log=None), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, host, port, ssl_context=tls)
    await site.start()
    peer.port = runner.addresses[0][1]
    try:
        yield peer
    finally:
        await runner.cleanup()
