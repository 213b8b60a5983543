"""What the tests of the federation share: an authority, and a federation that trusts it alone."""

import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
import trustme
from partialstate_service.domain.ids import ServerName
from partialstate_service.federation.addresses import IpAddress, parse_networks
from partialstate_service.federation.assembly import Federation, FederationConfig, open_federation
from partialstate_service.federation.lookups import DnsLookups
from partialstate_service.federation.signing import LocalSigner
from partialstate_service.matrix.ed25519 import SigningKey, signing_key_from_seed
from support.tls import make_ca, write_ca_file

OUR_NAME = ServerName("us.example")
OpenFederation = Callable[..., AbstractAsyncContextManager[Federation]]


@pytest.fixture(scope="session")
def ca() -> trustme.CA:
    """Return an authority of this run."""
    return make_ca()


@pytest.fixture(scope="session")
def ca_file(ca: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return its certificate as a file."""
    return write_ca_file(ca, tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="session")
def our_key() -> SigningKey:
    """Return our homeserver's key."""
    return signing_key_from_seed("ours", bytes(range(32)))


@pytest.fixture
def federation(ca_file: Path, our_key: SigningKey) -> OpenFederation:
    """Return a function that opens a federation: allowed to reach loopback, DNS as told, options by name."""

    @asynccontextmanager
    async def opened(
        *,
        name_server: tuple[str, int] | None = None,
        hosts: Mapping[str, Sequence[IpAddress]] | None = None,
        allowed: Sequence[str] = ("127.0.0.0/8", "::1/128"),
        **options: object,
    ) -> AsyncIterator[Federation]:
        # Without a server of the test's own, nothing listens where DNS is asked.
        lookups = DnsLookups(
            name_servers=[name_server or ("127.0.0.1", 9)],
            hosts=hosts or {},
            timeout_s=2.0 if name_server else 0.2,
        )
        config = FederationConfig(ca_file=ca_file, allowed_networks=parse_networks(allowed), **options)  # type: ignore[arg-type]
        async with open_federation(
            LocalSigner(OUR_NAME, our_key), config, lookups=lookups, random=random.Random(1)
        ) as federation:
            yield federation

    return opened
