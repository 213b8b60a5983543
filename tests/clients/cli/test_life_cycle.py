"""The command line alone drives the whole life of a partial room: real service, real resident servers, real TLS."""

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from partialstate_service.demo.resident.behaviour import Behaviour, Honest, unable
from partialstate_service.demo.service_process import running_service
from partialstate_service.demo.world import WorldSize
from support.worlds import PartialJoin, RunningWorld, running_world

SIZE = WorldSize(members=60, servers=6, messages=3)
# What a command may take on a busy machine; none comes near.
PATIENCE_S = 60
# Many processes, one after the other.
pytestmark = pytest.mark.timeout(400)


@dataclass(frozen=True)
class Shell:
    """Runs `partialstate` as an operator does, in a directory, against a target."""

    target: str
    directory: Path

    async def run(self, *arguments: str, exit_code: int = 0) -> str:
        """Run a command line and return what it printed; it must exit with *exit_code*."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "partialstate.cli", *arguments),
            cwd=self.directory,
            env=os.environ | {"PARTIALSTATE_TARGET": self.target},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(PATIENCE_S):
                output, errors = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode == exit_code, f"{arguments}: {output.decode()}{errors.decode()}"
        return output.decode()

    async def json(self, *arguments: str, exit_code: int = 0) -> Any:
        """Run a command line with --json and return what it printed."""
        return json.loads(await self.run(*arguments, "--json", exit_code=exit_code))

    def write(self, name: str, content: bytes) -> None:
        """Write a file for a command."""
        (self.directory / name).write_bytes(content)


@asynccontextmanager
async def running_shell(running: RunningWorld) -> AsyncIterator[Shell]:
    """Run a service for the world's homeserver, and a shell that talks to it."""
    # Not pytest's directory: the path of a socket must be short.
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        settings = {
            "FEDERATION_CA_FILE": str(running.authority.write_pem(directory / "ca.pem")),
            "FEDERATION_ALLOWED_NETWORKS": "127.0.0.0/8",
        }
        homeserver = running.homeserver
        async with running_service(homeserver.name, homeserver.key, directory, settings) as target:
            yield Shell(target, directory)


def residents_behave(running: RunningWorld, behaviour: Behaviour) -> None:
    for server in running.world.servers:
        running.residents.behave(server.name, behaviour)


async def register(shell: Shell, join: PartialJoin) -> Any:
    shell.write("join.json", json.dumps(join.event).encode())
    shell.write("send_join.json", join.response)
    options = ("--join-event", "join.json", "--room-version", "11", "--via", join.joined_via)
    return await shell.json("register", "send_join.json", *options)


async def test_the_command_line_drives_the_whole_life_of_a_room():
    async with running_world(SIZE) as running, running_shell(running) as shell:
        residents_behave(running, unable())
        room_id, member = running.world.room.room_id, running.world.servers[1]
        check = ("check", "--origin", member.name, "--room", room_id)

        # A fresh store decides nothing until it is told what the homeserver holds: nothing.
        await shell.run(*check, "--endpoint", "state_ids", "--event", "$e", exit_code=7)
        shell.write("none", b"")
        await shell.run("reconcile", "none")

        join = await running.join_partially()
        registered = await register(shell, join)
        assert (registered["outcome"], registered["join_event_id"]) == ("REGISTERED", join.event_id)
        assert (await register(shell, join))["outcome"] == "ALREADY_REGISTERED"
        await shell.run("confirm-join", room_id)
        await shell.run("record-sent", room_id, "--event", join.event_id, "--to", member.name)
        event = running.world.message(member, "while you were partial")
        shell.write("events", json.dumps(event).encode())
        assert (await shell.json("record", room_id, "events"))["outcomes"] == ["RECORDED"]

        # The room is partial: what was sent is answered for, and the state is not.
        (listed,) = (await shell.json("rooms"))["rooms"]
        assert (listed["room_id"], listed["join_confirmed"]) == (room_id, True)
        assert member.name in (await shell.json("destinations", room_id))["servers"]
        named = ("--event", join.event_id)
        refusal = await shell.json(*check, "--endpoint", "state_ids", *named, exit_code=3)
        assert (refusal["verdict"], refusal["error"]["http_status"]) == ("REFUSE", 403)
        await shell.run(*check, "--endpoint", "make_join", "--user", f"@u:{member.name}", exit_code=3)

        # The resident servers come to their senses, and the operator does not want to wait.
        residents_behave(running, Honest())
        await shell.run("retry", room_id)
        *_, last = (await shell.run("room", room_id, "--follow", "--json")).splitlines()
        assert json.loads(last)["room"]["status"] == "AWAITING_IMPORT"
        answered = await shell.json(*check, "--endpoint", "event_auth", *named)
        assert (answered["verdict"], answered["reason"]) == ("ANSWER", "SENT_BY_US")

        # The homeserver imports what was recovered: exactly the state of the room.
        records = [json.loads(line) for line in (await shell.run("state", room_id)).splitlines()]
        *slots, last = [
            json.loads(line) for line in (await shell.run("state", room_id, "--current")).splitlines()
        ]
        current = {(slot["type"], slot["state_key"]): slot["event_id"] for slot in slots}
        assert current == dict(running.world.room.current_state())
        assert last == records[-1]
        end = records[-1]
        assert (end["record"], end["complete"]) == ("end", True)
        await shell.run("confirm-import", room_id, "--position", "0", exit_code=6)
        position = ("--position", str(end["position"]))
        await shell.run("ack", room_id, *position)
        await shell.run("confirm-import", room_id, *position)

        # The room is full, and stays full whatever is repeated.
        decision = await shell.json(*check, "--endpoint", "state_ids", *named)
        assert decision["verdict"] == "PROCEED"
        await shell.run("room", room_id, exit_code=5)
        ended = await register(shell, join)
        assert (ended["outcome"], ended["ending"]) == ("ENDED", "IMPORTED")
        await shell.run("confirm-import", room_id, "--generation", str(end["generation"]), *position)
        assert (await shell.json("rooms"))["rooms"] == []


async def test_a_room_that_was_left_is_refused_until_it_is_purged():
    async with running_world(SIZE) as running, running_shell(running) as shell:
        residents_behave(running, unable())
        shell.write("none", b"")
        await shell.run("reconcile", "none")
        join = await running.join_partially()
        generation = str((await register(shell, join))["generation"])
        room_id, asking = running.world.room.room_id, running.world.creator.name
        check = ("check", "--endpoint", "state_ids", "--origin", asking, "--room", room_id, "--event", "$e")
        await shell.run("release", room_id, "--reason", "left")
        assert (await shell.json("room", room_id))["room"]["status"] == "ABANDONED"
        await shell.run(*check, exit_code=3)
        watching = await shell.run("room", room_id, "--follow")
        assert "ABANDONED" in watching
        await shell.run("release", room_id, "--reason", "purged")
        await shell.run(*check)
        await shell.run("release", room_id, "--reason", "purged", "--generation", generation)
