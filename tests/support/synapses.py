"""Real Synapses on loopback: processes of their own, started and ended here, told what to do as their users would."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
from partialstate_service.demo.certificates import CertificateAuthority
from partialstate_service.domain.ids import EventId, ServerName
from partialstate_service.matrix.ed25519 import SigningKey, signing_key_from_seed
from support.loopback_ports import free_port
from unpaddedbase64 import encode_base64
from yarl import URL

START_TIMEOUT_S = 120
STOP_TIMEOUT_S = 60
_SECRET = "tests only"
_PLENTY = {"per_second": 10_000, "burst_count": 10_000}


@dataclass(frozen=True, slots=True)
class SynapseUser:
    """A user of a Synapse, who does what clients do."""

    user_id: str
    _token: str
    _base: str
    _session: aiohttp.ClientSession

    async def join(self, room_id: str, via: str) -> None:
        """Join a room through a server."""
        await self._call("POST", f"join/{quote(room_id, safe='')}?server_name={quote(via)}", {})

    async def joined_members(self, room_id: str) -> set[str]:
        """Return who is in a room; waits until the Synapse has the room's full state."""
        answer = await self._call("GET", f"rooms/{quote(room_id, safe='')}/joined_members")
        return set(answer["joined"])

    async def say(self, room_id: str, text: str) -> EventId:
        """Say something, and return the event's id."""
        path = (
            f"rooms/{quote(room_id, safe='')}/send/m.room.message/{hashlib.sha256(text.encode()).hexdigest()}"
        )
        return EventId((await self._call("PUT", path, {"msgtype": "m.text", "body": text}))["event_id"])

    async def messages(self, room_id: str) -> list[str]:
        """Return the texts of the latest messages of a room."""
        path = f"rooms/{quote(room_id, safe='')}/messages?dir=b&limit=100"
        chunk = (await self._call("GET", path))["chunk"]
        return [event["content"]["body"] for event in chunk if "body" in event["content"]]

    async def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        url = f"{self._base}/_matrix/client/v3/{path}"
        headers = {"Authorization": f"Bearer {self._token}"}
        async with self._session.request(
            method, URL(url, encoded=True), json=body, headers=headers
        ) as response:
            answer: dict[str, Any] = await response.json()
            assert response.status == 200, f"{method} {path}: {answer}"
            return answer


@dataclass(frozen=True, slots=True)
class Synapse:
    """A running Synapse. Its signing key is known, so that a test can also ask as it would."""

    name: ServerName
    key: SigningKey
    log: Path
    _base: str
    _session: aiohttp.ClientSession

    async def register(self, localpart: str) -> SynapseUser:
        """Make a user."""
        url = f"{self._base}/_synapse/admin/v1/register"
        async with self._session.get(url) as response:
            nonce = (await response.json())["nonce"]
        signed = f"{nonce}\0{localpart}\0password\0notadmin".encode()
        body = {"nonce": nonce, "username": localpart, "password": "password", "admin": False}
        body["mac"] = hmac.new(_SECRET.encode(), signed, hashlib.sha1).hexdigest()
        async with self._session.post(url, json=body) as response:
            answer = await response.json()
            assert response.status == 200, answer
        return SynapseUser(answer["user_id"], answer["access_token"], self._base, self._session)


@asynccontextmanager
async def running_synapse(
    python: Path,
    directory: Path,
    authority: CertificateAuthority,
    ca_file: Path,
    address: str,
    *,
    federation_port: int | None = None,
) -> AsyncIterator[Synapse]:
    """Run a Synapse at *address*, with everything that it writes in *directory*; any port that is free, or the given one."""
    federation_port = federation_port or free_port(address)
    client_port = free_port()
    name = ServerName(f"{address}:{federation_port}")
    key = signing_key_from_seed("synapse", hashlib.sha256(name.encode()).digest())
    config = _config(name, address, federation_port, client_port, directory, ca_file)
    config_file = _prepared(directory, config, key, authority)
    log = directory / "synapse.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(str(python), "-m", "synapse.app.homeserver", "-c", str(config_file)),
            cwd=directory,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    base = f"http://127.0.0.1:{client_port}"
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
            await _until_ready(process, session, base, log)
            yield Synapse(name, key, log, base, session)
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(STOP_TIMEOUT_S):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()


def _prepared(
    directory: Path, config: dict[str, Any], key: SigningKey, authority: CertificateAuthority
) -> Path:
    """Write what a Synapse needs into the new *directory*, and return its configuration's path."""
    directory.mkdir()
    seed = encode_base64(bytes(key.nacl_key))
    (directory / "signing.key").write_text(f"ed25519 {key.key_id.partition(':')[2]} {seed}\n")
    authority.write_server_files(
        config["server_name"].rpartition(":")[0], directory / "tls.crt", directory / "tls.key"
    )
    config_file = directory / "homeserver.yaml"
    config_file.write_text(json.dumps(config))  # JSON is YAML
    return config_file


async def _until_ready(
    process: asyncio.subprocess.Process, session: aiohttp.ClientSession, base: str, log: Path
) -> None:
    async with asyncio.timeout(START_TIMEOUT_S):
        while True:
            assert process.returncode is None, f"it ended: {log}"
            try:
                async with session.get(f"{base}/_matrix/client/versions") as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            # There is nothing to wait for but the port itself.
            await asyncio.sleep(0.1)


def _config(
    name: str, address: str, federation_port: int, client_port: int, directory: Path, ca_file: Path
) -> dict[str, Any]:
    return {
        "server_name": name,
        "report_stats": False,
        "pid_file": str(directory / "synapse.pid"),
        "listeners": [
            {
                "port": federation_port,
                "bind_addresses": [address],
                "type": "http",
                "tls": True,
                "resources": [{"names": ["federation"]}],
            },
            {
                "port": client_port,
                "bind_addresses": ["127.0.0.1"],
                "type": "http",
                "resources": [{"names": ["client"]}],
            },
        ],
        "tls_certificate_path": str(directory / "tls.crt"),
        "tls_private_key_path": str(directory / "tls.key"),
        "federation_custom_ca_list": [str(ca_file)],
        "database": {"name": "sqlite3", "args": {"database": str(directory / "homeserver.db")}},
        "signing_key_path": str(directory / "signing.key"),
        "media_store_path": str(directory / "media"),
        "trusted_key_servers": [],
        "suppress_key_server_warning": True,
        "ip_range_blacklist": [],
        "registration_shared_secret": _SECRET,
        "macaroon_secret_key": _SECRET,
        "form_secret": _SECRET,
        "bcrypt_rounds": 4,
        "presence": {"enabled": False},
        "limit_remote_rooms": {"enabled": False},
        "background_updates": {"sleep_enabled": False},
        "federation": {
            "client_timeout": "10s",
            "max_short_retries": 0,
            "destination_min_retry_interval": "1s",
        },
        "rc_message": _PLENTY,
        "rc_joins": {"local": _PLENTY, "remote": _PLENTY},
        "rc_joins_per_room": _PLENTY,
        "rc_registration": _PLENTY,
        "rc_login": {"address": _PLENTY, "account": _PLENTY},
        "rc_federation": {
            "window_size": 1000,
            "sleep_limit": 100_000,
            "sleep_delay": 1,
            "reject_limit": 100_000,
            "concurrent": 100,
        },
    }
