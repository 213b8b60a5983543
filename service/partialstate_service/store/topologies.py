"""Which server is the primary of a key: the one, the one that Sentinels name, or the one that has the key's slot.

Not by redis-py's `Sentinel`, which believes the Sentinel that answers first and does not ask the server for its ROLE, nor
by its `RedisCluster`, which sends ASKING on whichever connection is free, and has its table of slots behind a client that
repeats commands.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

from redis.crc import key_slot

from partialstate_service.store.exchange import ConnectionLostError, NotConnectedError, ReplyError
from partialstate_service.store.nodes import Node, Terms
from partialstate_service.store.urls import Address, StoreUrl, Topology

_log = logging.getLogger(__name__)


class Route(Protocol):
    """Finds the primaries."""

    async def node(self, key: str) -> Node:
        """Return the primary of *key*. Raises NotConnectedError if none is known."""

    async def primaries(self) -> Sequence[Node]:
        """Return all primaries."""

    def at(self, address: Address) -> Node:
        """Return the node that a redirection names."""

    def doubt(self, node: Node | None) -> None:
        """Look anew before the next use: *node* did not behave as the primary, and is not to be asked first."""

    async def takeover_ms(self) -> int | None:
        """Return how long a primary must be silent before another is made primary; None if unknown or never."""

    def close(self) -> None:
        """Close all connections."""


def route_to(url: StoreUrl, terms: Terms) -> Route:
    """Return the route to the servers of *url*."""
    match url.topology:
        case Topology.SINGLE:
            return OneServer(url.addresses[0], terms)
        case Topology.SENTINEL:
            return Sentinels(url, terms)
        case Topology.CLUSTER:
            return Cluster(url.addresses, terms)


class _Nodes:
    """Nodes by address."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._nodes: dict[Address, Node] = {}
        self._closed = False

    def at(self, address: Address) -> Node:
        """Return the node, made at its first use."""
        if (node := self._nodes.get(address)) is None:
            node = self._nodes[address] = Node(address, self._terms)
            if self._closed:  # whoever is still at work keeps no connection
                node.close()
        return node

    def keep(self, addresses: set[Address]) -> None:
        """Close all others."""
        for address in self._nodes.keys() - addresses:
            self._nodes.pop(address).close()

    def close(self) -> None:
        """Close all, and those that are made from now on."""
        self._closed = True
        self.keep(set())


class OneServer:
    """A single server; `Route` has the contracts."""

    def __init__(self, address: Address, terms: Terms) -> None:
        self._node = Node(address, terms)

    async def node(self, key: str) -> Node:
        """See `Route`."""
        del key
        return self._node

    async def primaries(self) -> Sequence[Node]:
        """See `Route`."""
        return [self._node]

    def at(self, address: Address) -> Node:
        """See `Route`."""
        raise NotConnectedError(
            f"one server redirects to {address}: it is part of a cluster (redis+cluster://)"
        )

    def doubt(self, node: Node | None) -> None:
        """See `Route`."""

    async def takeover_ms(self) -> int | None:
        """See `Route`."""
        return None

    def close(self) -> None:
        """See `Route`."""
        self._node.close()


class Sentinels:
    """The primary that the Sentinels name and that says so itself; `Route` has the contracts."""

    def __init__(self, url: StoreUrl, terms: Terms) -> None:
        self._service = url.service
        self._sentinels = [
            Node(address, replace(terms, login=url.sentinel_login)) for address in url.addresses
        ]
        self._nodes = _Nodes(terms)
        self._primary: Node | None = None
        self._finding = asyncio.Lock()

    async def node(self, key: str) -> Node:
        """See `Route`."""
        del key
        if self._primary is not None:
            return self._primary
        async with self._finding:
            if self._primary is None:
                self._primary = await self._find()
            return self._primary

    async def primaries(self) -> Sequence[Node]:
        """See `Route`."""
        return [await self.node("")]

    def at(self, address: Address) -> Node:
        """See `Route`."""
        return self._nodes.at(address)

    def doubt(self, node: Node | None) -> None:
        """See `Route`."""
        if self._primary is not None and node in {self._primary, None}:
            self._primary = None
            # The Sentinel that named it may be cut off together with it.
            self._sentinels.append(self._sentinels.pop(0))

    async def takeover_ms(self) -> int | None:
        """See `Route`."""
        flat = await self._ask("MASTER")
        return int(dict(zip(flat[::2], flat[1::2], strict=True))[b"down-after-milliseconds"])

    def close(self) -> None:
        """See `Route`."""
        for sentinel in self._sentinels:
            sentinel.close()
        self._nodes.close()

    async def _find(self) -> Node:
        host, port = await self._ask("GET-MASTER-ADDR-BY-NAME")
        address = Address(host.decode(), int(port))
        self._nodes.keep({address})
        node = self._nodes.at(address)
        # A Sentinel that was cut off names the old primary, which may know better already.
        [role] = await _exchange(node, ("ROLE",))
        if role[0] != b"master":
            raise NotConnectedError(f"{address} is named by a Sentinel, but no primary")
        return node

    async def _ask(self, question: str) -> Any:
        reasons = []
        for sentinel in list(self._sentinels):
            # Whoever has no time for its answer has another one asked first the next time.
            self._sentinels.remove(sentinel)
            self._sentinels.append(sentinel)
            try:
                [reply] = await _exchange(sentinel, ("SENTINEL", question, self._service))
            except NotConnectedError as error:
                reasons.append(str(error))
            else:
                if reply is not None:
                    # The one that answers is asked first the next time.
                    self._sentinels.remove(sentinel)
                    self._sentinels.insert(0, sentinel)
                    return reply
                reasons.append(f"{sentinel.address} does not know the service {self._service!a}")
        raise NotConnectedError(f"no Sentinel answers: {'; '.join(reasons)}")


class Cluster:
    """The primaries of a cluster by slot; `Route` has the contracts."""

    def __init__(self, seeds: Sequence[Address], terms: Terms) -> None:
        self._seeds = seeds
        self._nodes = _Nodes(terms)
        self._ranges: list[tuple[int, int, Node]] = []
        self._finding = asyncio.Lock()
        self._doubted = True
        self._suspects: list[Address] = []
        """Those that did not behave or have not answered, the last of them last."""

    async def node(self, key: str) -> Node:
        """See `Route`."""
        await self._look()
        slot = slot_of(key)
        for first, last, node in self._ranges:
            if first <= slot <= last:
                return node
        self._doubted = True
        raise NotConnectedError(f"no node of the cluster has slot {slot}")

    async def primaries(self) -> Sequence[Node]:
        """See `Route`."""
        await self._look()
        return list({node.address: node for _, _, node in self._ranges}.values())

    def at(self, address: Address) -> Node:
        """See `Route`."""
        return self._nodes.at(address)

    def doubt(self, node: Node | None) -> None:
        """See `Route`."""
        self._doubted = True
        if node is not None:
            self._suspect(node.address)

    async def takeover_ms(self) -> int | None:
        """See `Route`."""
        [node, *_] = await self.primaries()
        try:
            [reply] = await _exchange(node, ("CONFIG", "GET", "cluster-node-timeout"))
        except NotConnectedError:
            return None
        return int(reply[1]) if reply else None

    def close(self) -> None:
        """See `Route`."""
        self._nodes.close()

    async def _look(self) -> None:
        if not self._doubted:
            return
        async with self._finding:
            if self._doubted:
                self._ranges = await self._slots()
                self._doubted = False

    async def _slots(self) -> list[tuple[int, int, Node]]:
        reasons = []
        known = dict.fromkeys([*(node.address for _, _, node in self._ranges), *self._seeds])
        self._suspects = [address for address in self._suspects if address in known]
        for address in [*(one for one in known if one not in self._suspects), *self._suspects]:
            # Whoever has no time for its answer has another one asked first the next time.
            self._suspect(address)
            try:
                [reply] = await _exchange(self._nodes.at(address), ("CLUSTER", "SLOTS"))
            except NotConnectedError as error:
                reasons.append(str(error))
                continue
            if reply:
                named = [
                    (
                        int(first),
                        int(last),
                        Address((primary[0] or b"").decode() or address.host, int(primary[1])),
                    )
                    for first, last, primary, *_ in reply
                ]
                self._suspects.remove(address)
                self._nodes.keep({found for _, _, found in named})
                return [(first, last, self._nodes.at(found)) for first, last, found in named]
            reasons.append(f"{address} knows no slots")
        raise NotConnectedError(f"no node of the cluster answers: {'; '.join(reasons)}")

    def _suspect(self, address: Address) -> None:
        if address in self._suspects:
            self._suspects.remove(address)
        self._suspects.append(address)


def slot_of(key: str) -> int:
    """Return the hash slot of a key: of what stands in its first braces, if anything does."""
    return key_slot(key.encode())


async def _exchange(node: Node, command: tuple[str, ...]) -> list[Any]:
    """Ask a server about itself or others; whatever fails, there is no answer."""
    try:
        replies = await node.ask(command)
    except (ConnectionLostError, TimeoutError) as error:
        raise NotConnectedError(f"{node.address}: {str(error) or 'no answer in time'}") from error
    if isinstance(replies[0], ReplyError):
        raise NotConnectedError(f"{node.address}: {replies[0]}")
    return replies
