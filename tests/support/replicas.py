"""Service processes over one store, measured from outside."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

from bench.processes import Measured
from bench.service_process import running_service
from partialstate import NO_RETRIES, Deadlines, PartialStateClient, StateToken
from support.loopback_ports import free_port
from support.store_server import running_server, servers_here

_LAG = "partialstate_event_loop_lag_seconds_bucket"
# What is shown is that calls succeed; how long they take is told in figures, and is the machine's matter too.
PATIENT = Deadlines(check_s=15, read_s=30, write_s=30)


@dataclass(frozen=True, slots=True)
class Replica:
    """One running service."""

    process: Measured
    client: PartialStateClient
    metrics_address: str

    @property
    def descriptors(self) -> int:
        """How many descriptors its process has open."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    async def metrics(self) -> Mapping[str, float]:
        """Return its metrics, by name with labels."""
        text = await asyncio.to_thread(self._metrics_text)
        return {
            name: float(value)
            for name, _, value in (line.rpartition(" ") for line in text.splitlines() if line[0] != "#")
        }

    async def lag_s(self, share: float, since: Mapping[str, float]) -> float:
        """Return what *share* of the looks at the event loop were less late than; *since* are metrics of before."""
        now = await self.metrics()
        counts = {
            float(name.partition('le="')[2].partition('"')[0]): value - since[name]
            for name, value in now.items()
            if name.startswith(_LAG)
        }
        return min(edge for edge, count in counts.items() if count >= share * counts[float("inf")])

    def _metrics_text(self) -> str:
        with urlopen(f"http://{self.metrics_address}/metrics", timeout=30) as response:
            return str(response.read().decode())


@asynccontextmanager
async def running_store(directory: Path) -> AsyncIterator[str]:
    """Run a store server; yield its URL."""
    with running_server(servers_here()[0], directory / "s") as socket:
        yield f"unix://{socket}"


@asynccontextmanager
async def replica(directory: Path, settings: Mapping[str, str]) -> AsyncIterator[Replica]:
    """Run one service, with its data in *directory*, whose path has to be short."""
    await asyncio.to_thread(directory.mkdir, exist_ok=True)
    address = f"127.0.0.1:{free_port()}"
    async with (
        running_service(directory, metrics_listen=address, **settings) as service,
        PartialStateClient(service.target, deadlines=PATIENT, retry_policy=NO_RETRIES) as client,
    ):
        yield Replica(service.process, client, address)


@asynccontextmanager
async def replicas(
    directory: Path, count: int, settings: Mapping[str, str]
) -> AsyncIterator[Sequence[Replica]]:
    """Run *count* services that decide; *settings* name their store."""
    async with AsyncExitStack() as stack:
        running = [
            await stack.enter_async_context(replica(directory / str(number), settings))
            for number in range(count)
        ]
        await reconcile(running[0].client)
        yield running


async def reconcile(client: PartialStateClient) -> None:
    """Let a fresh store decide."""
    await client.reconcile_rooms(await last_token(client), [])


async def last_token(client: PartialStateClient) -> StateToken:
    """Return where the registry stands."""
    async with aclosing(client.list_partial_rooms(page_size=1)) as pages:
        return (await anext(pages)).state_token
