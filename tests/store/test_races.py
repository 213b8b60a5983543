"""What happens when several do something at the same time."""

import asyncio
import itertools
import random

from partialstate_service.domain.errors import ImportIncompleteError, LeaseLostError
from partialstate_service.domain.ids import RoomId
from partialstate_service.domain.rooms import Progress
from partialstate_service.store.log_entries import entry_of
from partialstate_service.store.protocol import RecordOutcome, RegistrationOutcome
from support.store_rooms import NOW, ROOM, TTL, claim, join, recorded, register, resolve


async def test_an_event_is_recorded_or_the_room_is_full_but_never_both(store, replica):
    """The writer that comes too late recomputes with full state; the import that comes too early imports more."""
    results = set()
    for i in range(60):
        room = RoomId(f"!{i}:here")
        generation = (await register(store, join(room, f"$join-{i}"))).generation
        lease = await claim(store)
        position = await resolve(store, lease, f"$join-{i}")
        await store.registry.hand_back(lease, None)

        async def record(room=room):
            # The import has one step, recording two: begin them so that either may win.
            outcomes, _, _ = await replica.registry.record_partial_events(room, [recorded("$e", "$x")], NOW)
            return outcomes[0]

        async def confirm(room=room, generation=generation, position=position, late=i % 4):
            for _ in range(late):
                await replica.registry.read_token()
            try:
                await store.registry.confirm_import(room, generation, position, NOW)
            except ImportIncompleteError:
                return "incomplete"
            return "full"

        results.add(tuple(await asyncio.gather(record(), confirm())))
    assert results <= {(RecordOutcome.RECORDED, "incomplete"), (RecordOutcome.ROOM_NOT_PARTIAL, "full")}
    assert len(results) == 2


async def test_of_many_registrations_of_a_join_one_counts(store, replica):
    results = await asyncio.gather(*(register(random.choice([store, replica])) for _ in range(30)))
    assert len({result.generation for result in results}) == 1
    outcomes = [result.outcome for result in results]
    assert outcomes.count(RegistrationOutcome.REGISTERED) == 1
    assert len(await store.registry.recorded_events(ROOM)) == 1
    await store.sweeper.sweep()
    assert len(await replica.registry.recorded_events(ROOM)) == 1


async def test_two_joins_at_once_are_one_life_with_two_generations(store, replica):
    results = await asyncio.gather(
        *(register(random.choice([store, replica]), join(event_id=f"$join{i}")) for i in range(10))
    )
    assert len({result.generation for result in results}) == 10
    events = await store.registry.recorded_events(ROOM)
    assert {event.event_id for event in events} == {f"$join{i}" for i in range(10)}
    assert (await store.registry.get(ROOM)).generation == max(result.generation for result in results)


async def test_a_room_has_one_owner_at_a_time_as_the_change_log_shows(store, replica):
    """Workers that claim, write and lose leases at random."""
    for i in range(4):
        await register(store, join(f"!{i}:here", f"$join-{i}"))
    clock = iter(range(NOW, NOW + 10_000_000, TTL // 3))

    async def worker(number):
        registry = random.choice([store, replica]).registry
        for _ in range(15):
            lease = await registry.claim_due(str(number), next(clock), TTL)
            if lease is None:
                continue
            try:
                for _ in range(random.randrange(4)):
                    await registry.report_progress(lease, Progress(attempts=number), None)
                if random.random() < 0.5:
                    await registry.hand_back(lease, next(clock))
            except LeaseLostError:
                continue

    await asyncio.gather(*(worker(number) for number in range(6)))
    command, log = store.registry._changes.server.command, store.registry._changes.keys.of("log")
    entries = [entry_of(*entry) for entry in await command("XRANGE", log, "-", "+")]
    owner = {}
    claims = 0
    for entry in entries:
        kind, fencing = entry.fields[b"kind"], entry.fields.get(b"fencing")
        if kind == b"claim_due":
            assert int(fencing) > int(owner.get(entry.room_id, 0))
            owner[entry.room_id] = fencing
            claims += 1
        elif fencing is not None:
            assert fencing == owner[entry.room_id]
    assert claims > 10
    first = entries[0].revision
    assert [entry.revision for entry in entries] == list(range(first, first + len(entries)))
    assert all(later.previous_chain == earlier.chain for earlier, later in itertools.pairwise(entries))
