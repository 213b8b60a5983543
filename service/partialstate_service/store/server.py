"""Speaking to the store's servers: plain commands, batches of them, and scripts; the one place that sees their errors."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from partialstate_service.domain.errors import StoreUnavailableError
from partialstate_service.store.exchange import (
    Argument,
    ConnectionLostError,
    NotConnectedError,
    ReplyError,
)
from partialstate_service.store.nodes import Node
from partialstate_service.store.scripts import script
from partialstate_service.store.topologies import Route
from partialstate_service.store.urls import Address

_log = logging.getLogger(__name__)

# How often a command that was certainly not executed is sent on, to where it belongs.
_HOPS = 5
_PAUSE_S = 0.05
_WRITES = frozenset({"SET", "ZADD", "SREM", "UNLINK"})

# What servers answer when they cannot, and what to do about it.
_TROUBLES = {
    "OOM": "the store's memory is full: raise its maxmemory",
    "NOREPLICAS": "the store's primary has lost its replicas, and takes no changes (min-replicas-to-write)",
    "READONLY": "the store's server is a replica",
    "MISCONF": "the store cannot write to its disk",
    "BUSY": "the store is busy with somebody's slow script",
    "LOADING": "the store is loading its data",
    "CLUSTERDOWN": "the store's cluster is down",
    "MASTERDOWN": "the store's primary is down",
    "NOPERM": "the store's user may not do what this service needs",
    "TRYAGAIN": "the store is moving a slot",
}
# A server that answers so did nothing, and another one may be the primary by now.
_NOT_PRIMARY = frozenset({"READONLY", "NOREPLICAS", "CLUSTERDOWN", "MASTERDOWN", "LOADING"})


@dataclass(frozen=True, slots=True)
class _Elsewhere:
    """Where a command is to be sent next; without a node, to the primary that the route then knows."""

    node: Node | None = None
    asking: bool = False
    paused: bool = False


class Server:
    """The servers, as the rest of the store sees them: every key has its primary. Every call raises StoreUnavailableError."""

    def __init__(
        self,
        route: Route,
        acknowledgement: tuple[Argument, ...] = (),
        needed: Sequence[int] = (),
        *,
        timeout_s: float,
    ) -> None:
        """*acknowledgement*, a WAIT or WAITAOF, follows every change, on its connection, and must count as many as *needed*.

        Of WAIT these are replicas, of WAITAOF the primary itself (1), then replicas. *timeout_s* limits each call, with
        all the servers that it goes to.
        """
        self._route = route
        self._timeout_s = timeout_s
        self._acknowledgement = acknowledgement
        self._needed = needed

    async def command(self, *words: Argument, key: str | None = None) -> Any:
        """Return the reply to one command; *key* if it is not the first word after the command's name."""
        name = str(words[0])
        [reply] = await self._exchange(name, key or str(words[1]), [words], changes=name in _WRITES)
        return _checked(name, reply)

    async def batch(self, *commands: Sequence[Argument]) -> list[Any]:
        """Return the replies to commands on keys of one slot that are sent together; others may come between them."""
        name = str(commands[0][0])
        replies = await self._exchange(
            name, str(commands[0][1]), [tuple(words) for words in commands], changes=False
        )
        return [_checked(name, reply) for reply in replies]

    async def run(self, name: str, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
        """Return the reply of the script `scripts/<name>.lua`."""
        called = script(name)
        rest = (len(keys), *keys, *arguments)
        [reply] = await self._exchange(
            name, keys[0], [("EVALSHA", called.digest, *rest)], changes=called.changes
        )
        if isinstance(reply, ReplyError) and _code(reply) == "NOSCRIPT":
            [reply] = await self._exchange(
                name, keys[0], [("EVAL", called.source, *rest)], changes=called.changes
            )
        return _checked(name, reply)

    async def _exchange(
        self, what: str, key: str, commands: Sequence[tuple[Argument, ...]], *, changes: bool
    ) -> list[Any]:
        """Send commands to the primary of *key*; if it certainly executed none of them, to the one it points at."""
        sent = [*commands, self._acknowledgement] if changes and self._acknowledgement else commands
        elsewhere = _Elsewhere()
        trouble: Exception = NotConnectedError()
        give_up_s = asyncio.get_running_loop().time() + self._timeout_s
        for _ in range(_HOPS):
            node = elsewhere.node
            try:
                async with asyncio.timeout_at(give_up_s):
                    node = node or await self._route.node(key)
                    replies = await node.exchange([("ASKING",), *sent] if elsewhere.asking else sent)
            except NotConnectedError as error:
                self._route.doubt(node)
                trouble = error
                elsewhere = _Elsewhere(paused=True)
            except (ConnectionLostError, TimeoutError) as error:
                self._route.doubt(node)
                where = node.address if node is not None else "?"
                raise _unavailable(what, f"{where}: {str(error) or 'no answer in time'}") from error
            else:
                replies = replies[elsewhere.asking :]
                if (next_one := self._elsewhere(replies[0], node)) is None:
                    break
                trouble, elsewhere = replies[0], next_one
            if elsewhere.paused:
                await asyncio.sleep(_PAUSE_S)
        else:
            raise _unavailable(what, str(trouble), _TROUBLES.get(_code(trouble)))
        if len(sent) > len(commands):
            self._require_acknowledged(what, replies.pop(), replies)
        return replies

    def _elsewhere(self, reply: Any, node: Node) -> "_Elsewhere | None":
        """Return where to go with a command that *node* did not execute, or None if it did, or refused it for good."""
        if not isinstance(reply, ReplyError):
            return None
        match str(reply).split(" "):
            case ["MOVED", _, target]:
                self._route.doubt(None)
                return _Elsewhere(self._route.at(_address(target, node)))
            case ["ASK", _, target]:
                return _Elsewhere(self._route.at(_address(target, node)), asking=True)
            case [code, *_] if code in _NOT_PRIMARY:
                self._route.doubt(node)
                return _Elsewhere(paused=True)
            case ["TRYAGAIN", *_]:
                return _Elsewhere(paused=True)
            case _:
                return None

    def _require_acknowledged(self, what: str, acknowledged: Any, replies: Sequence[Any]) -> None:
        if any(isinstance(reply, ReplyError) for reply in replies):
            return  # nothing was changed
        counts = acknowledged if isinstance(acknowledged, list) else [acknowledged]
        if isinstance(acknowledged, ReplyError) or any(map(int.__lt__, counts, self._needed)):
            raise _unavailable(
                what, f"changed, but not on enough servers in time ({acknowledged!a} of {[*self._needed]})"
            )


def _checked(what: str, reply: Any) -> Any:
    if isinstance(reply, ReplyError):
        raise _unavailable(what, str(reply), _TROUBLES.get(_code(reply)))
    return reply


def _unavailable(what: str, why: str, told: str | None = None) -> StoreUnavailableError:
    _log.warning("the store failed in %s: %s", what, why)
    return StoreUnavailableError(told or f"the store did not answer, or refused ({what})")


def _code(error: Exception) -> str:
    return str(error).partition(" ")[0]


def _address(target: str, node: Node) -> Address:
    """Return the address of a redirection; without a host it is that of the node itself."""
    host, _, port = target.rpartition(":")
    return Address(host or node.address.host, int(port))
