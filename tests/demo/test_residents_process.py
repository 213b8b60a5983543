"""The simulated servers as a process of their own, as benchmarks run them."""

import asyncio
import json
import random
import ssl
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from partialstate_service.demo.resident.process import ResidentsConfig
from partialstate_service.demo.simulated_server import reserve_server
from partialstate_service.demo.x_matrix import SignedClient
from partialstate_service.domain.ids import ServerName
from unpaddedbase64 import encode_base64


async def test_the_process_says_what_it_simulates_and_ends_with_its_input(tmp_path: Path) -> None:
    homeserver = reserve_server("127.20.0.1", random.Random(1))
    try:
        config = tmp_path / "config.json"
        public = encode_base64(homeserver.key.public)
        ca_file = tmp_path / "ca.pem"
        given: dict[str, Any] = {
            "ca_file": str(ca_file),
            "keys": {homeserver.name: {homeserver.key.key_id: public}},
            "members": 30,
            "servers": 5,
            "behaviours": {"1": "dead", "2": "unable"},
        }
        config.write_text(json.dumps(given))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "partialstate_service.demo.resident", "--config", str(config)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            async with asyncio.timeout(30):
                told = json.loads(await process.stdout.readline())
            assert told["version"] == "11"
            servers = [ServerName(name) for name in told["servers"]]
            context = ssl.create_default_context(cafile=str(ca_file))
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
                client = SignedClient(homeserver.name, homeserver.key, session)
                answer = await client.request("GET", servers[0], "/_matrix/federation/v1/event/%24x")
                # We are not in the room yet, but who we are is known.
                assert (answer.status, answer.errcode) == (403, "M_FORBIDDEN")
                with pytest.raises(aiohttp.ClientConnectorError):
                    await client.request("GET", servers[1], "/_matrix/key/v2/server")
            process.stdin.close()
            async with asyncio.timeout(30):
                told = json.loads(await process.stdout.readline())
                assert await process.wait() == 0
            assert told == {"requests": {"EVENT": 1}}
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    finally:
        homeserver.reserved.close()


def test_an_unknown_behaviour_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown behaviour 'kind'"):
        ResidentsConfig.of({"ca_file": "ca.pem", "keys": {}, "behaviours": {"0": "kind"}})
