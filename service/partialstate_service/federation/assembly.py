"""The federation as the service uses it: one object to open and close, made of the parts of this package."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

from partialstate_service.domain.ids import ServerName
from partialstate_service.federation.addresses import AddressPolicy, IpNetwork
from partialstate_service.federation.client import FederationClient
from partialstate_service.federation.discovery import FEDERATION_PORT, Discovery
from partialstate_service.federation.keys import KeyFetcher, KeyLimits
from partialstate_service.federation.lookups import DnsLookups, Lookups
from partialstate_service.federation.protocol import FederationLimits
from partialstate_service.federation.requester import Requester
from partialstate_service.federation.signing import LocalSigner, RequestSigner
from partialstate_service.federation.transport import Transport, tls_context
from partialstate_service.federation.well_known import HttpsWellKnown, WellKnownCache


@dataclass(frozen=True, slots=True)
class FederationConfig:
    """What an operator may set, and what tests move to unprivileged ports."""

    ca_file: Path | None = None
    """PEM; replaces the system's certificate authorities."""
    allowed_networks: tuple[IpNetwork, ...] = ()
    """Networks that may be connected to although they are not public."""
    key_servers: Sequence[ServerName] = ()
    """Notaries, trusted to say which keys a server has."""
    limits: FederationLimits = FederationLimits()
    key_limits: KeyLimits = KeyLimits()
    federation_port: int = FEDERATION_PORT
    well_known_port: int = 443


@dataclass(frozen=True, slots=True)
class Federation:
    """The open federation: the calls of a resync, the keys, and signed requests for whatever else."""

    client: FederationClient
    keys: KeyFetcher
    requester: Requester


@asynccontextmanager
async def open_federation(
    signer: RequestSigner,
    config: FederationConfig,
    *,
    lookups: Lookups | None = None,
    random: Random | None = None,
) -> AsyncIterator[Federation]:
    """Yield a `Federation`; all of its connections are closed at the end, when none of its calls may run.

    *lookups* is the system's DNS unless given; *random* decides among SRV targets of equal priority.
    """
    limits = config.limits
    resolved = DnsLookups() if lookups is None else lookups
    transport = Transport(
        tls=tls_context(config.ca_file),
        lookups=resolved,
        policy=AddressPolicy(config.allowed_networks),
        connections_per_destination=limits.connections_per_destination,
        connect_timeout_s=limits.connect_timeout_s,
    )
    well_known = HttpsWellKnown(transport, now_s=time.time, port=config.well_known_port)
    discovery = Discovery(
        WellKnownCache(well_known, now_s=time.time),
        resolved,
        random=Random() if random is None else random,  # noqa: S311 - spreads load, guards nothing
        now_s=time.time,
        default_port=config.federation_port,
    )
    requester = Requester(
        discovery,
        transport,
        signer,
        now_s=time.time,
        discovery_timeout_s=limits.discovery_timeout_s,
        max_error_body_bytes=limits.max_error_body_bytes,
    )
    try:
        yield Federation(
            client=FederationClient(requester, limits, monotonic_s=time.monotonic),
            keys=KeyFetcher(
                requester,
                config.key_servers,
                limits=config.key_limits,
                now_s=time.time,
                own_keys=signer.own_keys if isinstance(signer, LocalSigner) else None,
            ),
            requester=requester,
        )
    finally:
        await transport.aclose()
