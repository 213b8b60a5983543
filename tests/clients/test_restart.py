"""A real service that stops and comes back: what a client began goes on."""

import asyncio
import random
import tempfile
from contextlib import aclosing
from pathlib import Path

import pytest
from partialstate import (
    AtLeastAsFresh,
    CheckRequest,
    Deadlines,
    Endpoint,
    NoAnswerError,
    PartialJoin,
    PartialStateClient,
    Reason,
    RoomChanged,
    Verdict,
)
from partialstate_service.demo.service_process import running_service
from partialstate_service.demo.simulated_server import reserve_server
from support.send_joins import US, sent_join

# What a service takes to start on a busy machine; calls wait for it.
PATIENCE_S = 40.0


async def test_calls_streams_and_watches_outlive_a_restart():
    server = reserve_server("127.21.0.1", random.Random(1))
    server.reserved.close()
    deadlines = Deadlines(check_s=PATIENCE_S, read_s=PATIENCE_S, write_s=PATIENCE_S, upload_s=PATIENCE_S)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)  # a short path: a socket is in it
        target = f"unix:{directory / 'service.sock'}"
        join = sent_join()
        check = CheckRequest(Endpoint.STATE_IDS, "b.example", join.room_id, (join.join.event_id,))
        async with PartialStateClient(target, deadlines=deadlines) as client, client.stream_check() as stream:
            async with running_service(US, server.key, directory, {}):
                page = await anext(client.list_partial_rooms())
                await client.reconcile_rooms(page.state_token, [])
                header = PartialJoin(join.room_id, join.version, join.join_event, join.joined_via)
                registered = await client.register_partial_join(header, join.body)
                changes = client.watch(page.state_token)
                first = await anext(changes)
                assert (await stream.check(check)).verdict is Verdict.REFUSE

            # While it is gone there is no decision, and a write waits for it.
            async with PartialStateClient(target, deadlines=Deadlines(check_s=0.1)) as hasty:
                assert (await hasty.decide(check)).reason is Reason.NO_DECISION
                with pytest.raises(NoAnswerError):
                    await hasty.check(check)
            confirming = asyncio.create_task(client.confirm_join(join.room_id, registered.generation))

            async with running_service(US, server.key, directory, {}):
                token = await confirming
                seen = [first.state_token]
                async with aclosing(changes):
                    async for change in changes:
                        seen.append(change.state_token)
                        if isinstance(change, RoomChanged) and change.room.join_confirmed:
                            break
                assert len(seen) == len(set(seen))
                assert (await stream.check(check)).generation == registered.generation
                fresh = CheckRequest(
                    Endpoint.STATE_IDS,
                    "b.example",
                    join.room_id,
                    (join.join.event_id,),
                    consistency=AtLeastAsFresh(token),
                )
                (result,) = await client.batch_check([fresh])
                assert not isinstance(result, Exception)
                assert result.verdict is Verdict.REFUSE
