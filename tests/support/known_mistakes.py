"""Mistakes that a registry of this kind could make, each put into ours; a test of consistency has to find them all."""

import asyncio
import random
import time
from dataclasses import replace

from partialstate_service.store.mirror import RedisMirror
from partialstate_service.store.read_index import ReadIndex
from partialstate_service.store.server import Server


def slow_reads(monkeypatch, longest_s=0.004):
    """Not a mistake: answers of the store take their time, each another one, so that mistakes show."""
    rng, run = random.Random(0), Server.run

    async def slow(self, name, keys, arguments):
        reply = await run(self, name, keys, arguments)
        if name == "read_index":
            await asyncio.sleep(rng.random() * longest_s)
        return reply

    monkeypatch.setattr(Server, "run", slow)


def joining_a_read_in_flight(monkeypatch):
    """A check is answered by a read that was issued before it."""

    async def read(self, event_ids):
        if getattr(self, "flight", None) is None or self.flight.done():
            self.flight = asyncio.ensure_future(self._read(()))
        await asyncio.shield(self.flight)
        return {}

    monkeypatch.setattr(ReadIndex, "read", read)


def no_chain_id(monkeypatch):
    """A mirror believes that a store with a later revision has its past too."""
    follow = RedisMirror._follow

    async def trusting(self, reading):
        ours = self._token
        if reading.token.revision < ours.revision:
            reading = replace(reading, token=ours)
        reading = replace(
            reading,
            token=replace(reading.token, chain_id=ours.chain_id),
            entries=[entry for entry in reading.entries if not entry[0].startswith(b"%d-" % ours.revision)],
        )
        for _, fields in reading.entries[:1]:
            fields[fields.index(b"prev") + 1] = ours.chain_id.encode()
        self._rooms = (
            {room.room_id: room for room in (await self._registry.page(None, 100, frozenset()))[0]}
            if reading.entries
            else self._rooms
        )
        return await follow(self, reading)

    monkeypatch.setattr(RedisMirror, "_follow", trusting)


def release_by_time(monkeypatch):
    """A room counts as full once it has been partial for some time."""
    seen = {}

    def rooms(self):
        now = time.monotonic()
        return {
            room_id: room
            for room_id, room in self._rooms.items()
            if now - seen.setdefault((room_id, room.generation), now) < 0.003
        }

    monkeypatch.setattr(RedisMirror, "rooms", property(rooms))


KNOWN_MISTAKES = (joining_a_read_in_flight, no_chain_id, release_by_time)
