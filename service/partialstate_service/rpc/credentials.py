"""TLS credentials and known clients that are read again when their files change."""

import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeAlias, TypeVar

import grpc
import structlog

from partialstate_service.rpc.known_clients import (
    InvalidCredentialsError,
    InvalidTokenFileError,
    KnownClients,
    known_clients,
)

_log = structlog.get_logger()
_EMPTY_FOR_S = 2.0
"""How long a token file must hold nothing before that counts: one that is written in place is empty for a moment."""
_T = TypeVar("_T")
_Times: TypeAlias = tuple[tuple[int, int, int], ...]


class InvalidTlsFilesError(InvalidCredentialsError):
    """The TLS files cannot be used; the text names them."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files. With *client_ca*, clients must show a certificate of one of its authorities."""

    certificate: Path
    key: Path
    client_ca: Path | None = None

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files that there are."""
        return tuple(path for path in (self.certificate, self.key, self.client_ca) if path is not None)


class FileContent(Generic[_T]):
    """What some files hold; read again when one has changed, kept as it was where that fails."""

    def __init__(self, paths: tuple[Path, ...], read: Callable[[], _T]) -> None:
        """Read the files a first time; raises what *read* raises."""
        self._paths = paths
        self._read = read
        self._seen = self._times()
        self._failed: _Times | None = ()
        self._content = read()

    def current(self) -> tuple[_T, bool]:
        """Return the content, and whether it is new since the last call."""
        times = self._times()
        # What could not be read before is tried again, and complained of, when it has changed.
        if times == self._seen:
            self._failed = ()
        if times in (self._seen, self._failed):
            return self._content, False
        try:
            self._content = self._read()
        except (OSError, ValueError) as error:
            _log.warning("a changed file cannot be used, so what it held before counts", error=str(error))
            self._failed = times
            return self._content, False
        self._seen, self._failed = times, ()
        return self._content, True

    @property
    def has_failed(self) -> bool:
        """Whether the files were something else at the last call, which cannot be used."""
        return self._failed != ()

    def _times(self) -> "_Times | None":
        """Return what changes with the files, None where one is missing."""
        try:
            stats = [path.stat() for path in self._paths]
        except OSError:
            return None
        return tuple((stat.st_mtime_ns, stat.st_ino, stat.st_size) for stat in stats)


def server_credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """Return credentials that follow *files*. Raises `InvalidCredentialsError` where that fails now."""

    def read() -> grpc.ServerCertificateConfiguration:
        certificate = _bytes_of(files.certificate, "tls_cert_file")
        key = _bytes_of(files.key, "tls_key_file")
        authorities = None
        if files.client_ca is not None:
            authorities = _bytes_of(files.client_ca, "tls_client_ca_file")
        _require_usable(files)
        return grpc.ssl_server_certificate_configuration([(key, certificate)], root_certificates=authorities)

    content = FileContent(files.paths, read)

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        configuration, is_new = content.current()
        return configuration if is_new else None

    return grpc.dynamic_ssl_server_credentials(
        content.current()[0],
        fetch,  # type: ignore[arg-type]  # None means "as before", says grpc's documentation
        require_client_authentication=files.client_ca is not None,
    )


def _require_usable(files: TlsFiles) -> None:
    """Raise `InvalidTlsFilesError` for what gRPC would complain of to its own log only, such as another certificate's key."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # Without a password: nobody is there to be asked for one.
        context.load_cert_chain(files.certificate, files.key, password=lambda: b"")
        if files.client_ca is not None:
            context.load_verify_locations(files.client_ca)
    except ssl.SSLError as error:
        names = ", ".join(map(str, files.paths))
        raise InvalidTlsFilesError(
            f"{names}: must be a certificate chain, its key without a password, and authorities ({error.reason})"
        ) from None


def clients_in(path: Path) -> Callable[[], KnownClients]:
    """Return a function that gives the clients in the token file *path*.

    Raises `InvalidCredentialsError`, also where there are none; a file that is emptied later withdraws them all.
    """

    def read() -> KnownClients:
        try:
            return known_clients(_bytes_of(path, "token_file").decode())
        except (InvalidTokenFileError, UnicodeDecodeError) as error:
            raise InvalidTokenFileError(f"token_file: {path}: {error}") from None

    content = FileContent((path,), read)
    if content.current()[0].are_none:
        raise InvalidTokenFileError(f"token_file: {path}: holds no token")
    return _Followed(content, path).clients


class _Followed:
    """The clients in a token file, which may be emptied."""

    def __init__(self, content: FileContent[KnownClients], path: Path) -> None:
        self._content = content
        self._path = path
        self._known = content.current()[0]
        self._emptied_s = 0.0

    def clients(self) -> KnownClients:
        """Return those who are known now."""
        now_in_file, is_new = self._content.current()
        if now_in_file is self._known:
            return self._known
        if now_in_file.are_none:
            if is_new or self._content.has_failed:
                self._emptied_s = time.monotonic()
            if time.monotonic() - self._emptied_s < _EMPTY_FOR_S:
                return self._known
            _log.warning("the token file holds no token any more, so nobody may call", path=str(self._path))
        self._known = now_in_file
        return self._known


def token_in(path: Path) -> Callable[[], str]:
    """Return a function that gives the token that is all of the file *path*. Raises `InvalidCredentialsError`."""

    def read() -> str:
        words = _bytes_of(path, "signing_token_file").decode(errors="replace").split()
        if len(words) != 1 or not words[0].isascii():
            raise InvalidTokenFileError(f"signing_token_file: {path}: must hold one token and nothing else")
        return words[0]

    content = FileContent((path,), read)
    return lambda: content.current()[0]


def authorities_in(path: Path) -> FileContent[bytes]:
    """Return the certificate authorities in the file *path*, as PEM. Raises `InvalidCredentialsError`."""

    def read() -> bytes:
        pem = _bytes_of(path, "signing_ca_file")
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=pem.decode(errors="replace"))
        except ssl.SSLError as error:
            raise InvalidTlsFilesError(
                f"signing_ca_file: {path}: must be certificate authorities ({error.reason})"
            ) from None
        return pem

    return FileContent((path,), read)


def _bytes_of(path: Path, setting: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidCredentialsError(f"{setting}: {path}: {error.strerror}") from error
