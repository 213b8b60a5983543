"""The settings: environment variables `PARTIALSTATE_…`, and a YAML file with the same names in lower case.

The environment takes precedence. A name that is not known is an error in both: a setting that is misspelt in silence
is a setting that is not set.
"""

import os
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from partialstate_service.domain.checks import UnableSpelling
from partialstate_service.domain.ids import ServerName, parse_server_name

PREFIX = "PARTIALSTATE_"
CONFIG_VARIABLE = "PARTIALSTATE_CONFIG"
# Of the command line of the client, which an operator may use in the same shell.
_CLIENT_VARIABLE = "PARTIALSTATE_TARGET"
_LOOPBACK_NAMES = frozenset({"localhost", "localhost.localdomain", "ip6-localhost"})
# Beyond these no value means anything, and some are refused by what they are given to: grpc's sizes and milliseconds have 32 bits.
_MOST_BYTES = 2**31 - 1
_MOST_CALLS = 10**9
_LEAST = 0.001
_WEEK_S = 7 * 24 * 3600
_HOUR_S = 3600


class InvalidSettingsError(Exception):
    """The settings are wrong; the text has one line per mistake."""


class Role(StrEnum):
    """What a process does. Several of each may share one store."""

    ALL = "all"
    API = "api"
    """Answers; resyncs nothing, so it needs no signing key and reaches no other homeserver."""
    RESYNC = "resync"
    """Resyncs; over gRPC it tells its health only."""


def _words(value: object) -> object:
    """Split a list that is given as text, at commas or white space."""
    return value.replace(",", " ").split() if isinstance(value, str) else value


def _server_name(value: str) -> ServerName:
    return parse_server_name(value)


def _network(value: object) -> object:
    return ip_network(value) if isinstance(value, str) else value


def _address(value: str) -> str:
    """Check `host:port` (an IPv6 literal in brackets) or `unix:path`."""
    if value.startswith("unix:") and value != "unix:":
        return value
    host, colon, port = value.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:  # noqa: PLR2004 - the largest port
        raise ValueError("must be HOST:PORT or unix:PATH")
    return value


def _target(value: str) -> str:
    """Check an address to call: as `_address`, but port 0 is nobody's."""
    if _address(value).endswith(":0") and not value.startswith("unix:"):
        raise ValueError("must be HOST:PORT or unix:PATH, with a port from 1 to 65535")
    return value


def _not_empty(value: object) -> object:
    """Refuse the empty text, which as a path is the working directory."""
    if value == "":
        raise ValueError("must not be empty")
    return value


def _zero_or_some(value: float) -> float:
    """Refuse what is so near to 0 (as a rule: "never") that milliseconds round it to 0, and waits by it to infinity."""
    if 0 < value < _LEAST:
        raise ValueError(f"must be 0 or at least {_LEAST}")
    return value


def _empty_is_none(value: object) -> object:
    return None if value == "" else value


_Server = Annotated[ServerName, AfterValidator(_server_name)]
_Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(_network)]
_Address = Annotated[str, AfterValidator(_address)]
_OptionalCount = Annotated[Annotated[int, Field(ge=0, le=1000)] | None, BeforeValidator(_empty_is_none)]
_Bytes = Annotated[int, Field(ge=1, le=_MOST_BYTES)]
_ConnectionAge = Annotated[float, Field(ge=0, le=_WEEK_S, allow_inf_nan=False), AfterValidator(_zero_or_some)]
_CallRate = Annotated[float, Field(ge=0, le=_MOST_CALLS, allow_inf_nan=False), AfterValidator(_zero_or_some)]
_Calls = Annotated[int, Field(ge=1, le=_MOST_CALLS)]
_OptionalAddress = Annotated[_Address | None, BeforeValidator(_empty_is_none)]
_OptionalTarget = Annotated[Annotated[str, AfterValidator(_target)] | None, BeforeValidator(_empty_is_none)]
_OptionalPath = Annotated[Path | None, BeforeValidator(_empty_is_none)]
_OptionalSecret = Annotated[SecretStr | None, BeforeValidator(_empty_is_none)]


class Settings(BaseSettings):
    """All settings of the service, read once. Times are in seconds, sizes in bytes."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", use_attribute_docstrings=True, env_ignore_empty=False
    )

    server_name: _Server
    """The homeserver's name, the part after the colon in its users' ids."""

    role: Role = Role.ALL
    """What this process does: `all`, only answer (`api`) or only `resync`. Several processes share a store."""

    signing_key_path: _OptionalPath = None
    """The homeserver's signing key, in Synapse's key file format. This, or `signing_target`; role `api` needs neither."""

    signing_target: _OptionalTarget = None
    """Where the homeserver serves SigningService, if it keeps its key: HOST:PORT or unix:PATH."""

    signing_ca_file: _OptionalPath = None
    """Certificate authorities (PEM) for TLS to `signing_target`. Read again when it changes. Without: no TLS, so only on loopback unless `allow_insecure`."""

    signing_token_file: _OptionalPath = None
    """A token for calls of `signing_target`, carried as `authorization: Bearer …`. Read again when it changes."""

    listen: _Address = "127.0.0.1:7790"
    """Where gRPC is served: HOST:PORT, or unix:PATH. Port 0 means any free port."""

    tls_cert_file: _OptionalPath = None
    """The server's certificate chain (PEM), with `tls_key_file`. Read again when it changes."""

    tls_key_file: _OptionalPath = None
    """The certificate's private key (PEM)."""

    tls_client_ca_file: _OptionalPath = None
    """Certificate authorities (PEM): clients must then show a certificate of one of them (mTLS), at each connection: see `max_connection_age_s`."""

    token_file: _OptionalPath = None
    """Who may call, one in a line: `TOKEN`, `NAME:ROLE[,ROLE] TOKEN` or, by a certificate's name, `NAME:ROLE[,ROLE]`. Read again when it changes; what is withdrawn also ends its open streams, within seconds. A file that is emptied withdraws everybody; one that cannot be understood changes nothing."""

    allow_insecure: bool = False
    """Whether gRPC may be spoken beyond loopback with nobody authenticated: here, and with `signing_target` without TLS."""

    health_listen: _OptionalAddress = None
    """HOST:PORT where health alone is served without TLS or tokens, for probes that speak no TLS. Empty: none."""

    max_connection_age_s: _ConnectionAge = 0
    """After how long gRPC clients are asked to connect anew, so that they find new replicas, and that certificates are looked at again: one that has expired or is no longer trusted serves 5 minutes longer at most. 0: never."""

    store_url: _OptionalSecret = None
    """`redis://`, `unix://`, `redis+sentinel://` or `redis+cluster://` (`rediss…` for TLS) of a Redis or Valkey. Empty: an embedded server."""

    data_dir: Annotated[Path, BeforeValidator(_not_empty)] = Path("partialstate-data")
    """Where the embedded server keeps its data."""

    store_allow_unpersisted: bool = False
    """Whether a store without an append-only file is accepted: what it holds is lost when it stops."""

    store_acknowledging_replicas: _OptionalCount = None
    """How many of the store's replicas must have a change before it is acknowledged. Empty: 1 with Sentinel and Cluster, else 0."""

    store_acknowledge_on_disk: bool = False
    """Whether the store's primary and those replicas must also have it on disk (WAITAOF): each change takes about a second."""

    errcode: UnableSpelling = UnableSpelling.UNSTABLE
    """The spelling of MSC3895's error code: `unstable` or `stable`."""

    federation_ca_file: _OptionalPath = None
    """Certificate authorities (PEM) for other homeservers, in place of the system's."""

    federation_allowed_networks: Annotated[tuple[_Network, ...], NoDecode, BeforeValidator(_words)] = ()
    """Networks that may be connected to although they are private or loopback, such as `127.0.0.0/8`."""

    federation_key_servers: Annotated[tuple[_Server, ...], NoDecode, BeforeValidator(_words)] = ()
    """Notaries that are asked for the signing keys of others, and trusted in what they answer."""

    resync_workers: Annotated[int, Field(ge=0, le=1000)] = 8
    """How many rooms this process resyncs at the same time, and as many again that take long; 0: it only answers, as with role `api`."""

    resync_processes: Annotated[int, Field(ge=0, le=1000)] = 0
    """How many processes verify events; 0: one for each core that this process may use."""

    resync_cross_check: bool = True
    """Whether a recovered state is compared with what another server says."""

    resync_omit_unverifiable: bool = True
    """Whether memberships whose signing key nobody has are left out in the end, so that the room completes."""

    max_send_join_bytes: _Bytes = 256 * 1024 * 1024
    """The largest send_join response that RegisterPartialJoin takes; it is held in memory."""

    max_message_bytes: _Bytes = 64 * 1024 * 1024
    """The largest gRPC message that is taken."""

    max_calls_per_client: _Calls = 2000
    """How many calls one client (a name of `token_file`, else a certificate's name, else a host) may have at the same time."""

    max_calls_per_second_per_client: _CallRate = 50_000
    """How many calls one client may make per second, on average: each item of a batch and each check of a stream is one; 0: any number."""

    max_call_burst_per_client: _Calls = 100_000
    """How many of these calls one client may make at once, after a while without any."""

    drain_grace_s: Annotated[float, Field(gt=0, le=_HOUR_S, allow_inf_nan=False)] = 10.0
    """How long calls may go on when the service is told to stop."""

    metrics_listen: _OptionalAddress = None
    """HOST:PORT of Prometheus' `/metrics`. Empty: none."""

    log_level: Annotated[str, Field(pattern="^(debug|info|warning|error)$")] = "info"
    """The least level that is logged: `debug`, `info`, `warning` or `error`."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment override the file, which is given as the initial values."""
        del settings_cls, dotenv_settings, file_secret_settings
        return env_settings, init_settings

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.signing_key_path is not None and self.signing_target is not None:
            raise ValueError("only one of signing_key_path and signing_target can be set")
        if self.role is not Role.API and self.signing_key_path is None and self.signing_target is None:
            raise ValueError("one of signing_key_path and signing_target must be set")
        if self.role is Role.RESYNC and not self.resync_workers:
            raise ValueError("resync_workers must be at least 1 where role is resync")
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise ValueError("tls_cert_file and tls_key_file belong together")
        if self.tls_client_ca_file is not None and self.tls_cert_file is None:
            raise ValueError("tls_client_ca_file needs tls_cert_file and tls_key_file")
        authenticated = self.tls_client_ca_file is not None or self.token_file is not None
        if not (authenticated or self.allow_insecure or is_local(self.listen)):
            raise ValueError(
                f"listen is {self.listen}, beyond loopback, where anybody could call: set token_file or "
                "tls_client_ca_file, or allow_insecure if the network protects it"
            )
        if (
            self.signing_target is not None
            and self.signing_ca_file is None
            and not (self.allow_insecure or is_local(self.signing_target))
        ):
            raise ValueError(
                f"signing_target is {self.signing_target}, beyond loopback: set signing_ca_file, "
                "or allow_insecure if the network protects it"
            )
        if self.metrics_listen is not None and self.metrics_listen.startswith("unix:"):
            raise ValueError("metrics_listen must be HOST:PORT")
        return self

    @property
    def resyncs(self) -> bool:
        """Whether this process works on rooms."""
        return self.role is not Role.API and self.resync_workers > 0

    def shown(self) -> dict[str, Any]:
        """Return the settings as text may show them: secrets are masked."""
        return self.model_dump(mode="json")


def is_local(address: str) -> bool:
    """Return whether only processes of this machine can reach *address*."""
    if address.startswith("unix:"):
        return True
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host in _LOOPBACK_NAMES


def load_settings(config: Path | None = None) -> Settings:
    """Return the settings of *config* (else of the file that `PARTIALSTATE_CONFIG` names) and the environment.

    Raises `InvalidSettingsError`.
    """
    known = {f"{PREFIX}{name}".upper() for name in Settings.model_fields} | {
        CONFIG_VARIABLE,
        _CLIENT_VARIABLE,
    }
    unknown = sorted(
        name for name in os.environ if name.upper().startswith(PREFIX) and name.upper() not in known
    )
    if unknown:
        raise InvalidSettingsError("\n".join(f"{name}: no such setting" for name in unknown))
    if config is None and os.environ.get(CONFIG_VARIABLE):
        config = Path(os.environ[CONFIG_VARIABLE])
    try:
        return Settings(**_read_file(config) if config is not None else {})
    except ValidationError as error:
        raise InvalidSettingsError(_lines(error)) from error


def _read_file(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidSettingsError(f"{path}: cannot be read: {error}") from error
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise InvalidSettingsError(f"{path}: must be a mapping from settings to values")
    return content


def _lines(error: ValidationError) -> str:
    """Return one line per mistake, without the values, which may be secrets."""
    return "\n".join(
        f"{'.'.join(map(str, mistake['loc'])) or 'settings'}: {mistake['msg']}"
        for mistake in error.errors(include_url=False, include_input=False)
    )
