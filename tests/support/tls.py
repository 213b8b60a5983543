"""A throw-away certificate authority and TLS contexts for servers on loopback."""

import ssl
from collections.abc import Iterable
from pathlib import Path

import trustme


def make_ca() -> trustme.CA:
    """Return a new certificate authority."""
    return trustme.CA()


def server_context(ca: trustme.CA, names: Iterable[str]) -> ssl.SSLContext:
    """Return a server's context with a certificate of *ca* for *names* (DNS names or addresses, without ports)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(*names).configure_cert(context)
    return context


def client_context(ca: trustme.CA) -> ssl.SSLContext:
    """Return a client's context that trusts *ca* alone."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ca.configure_trust(context)
    return context


def write_ca_file(ca: trustme.CA, directory: Path) -> Path:
    """Write the certificate of *ca* as PEM into *directory* and return the file's path."""
    path = directory / "ca.pem"
    ca.cert_pem.write_to_path(str(path))
    return path
