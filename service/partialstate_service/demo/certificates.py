"""A throw-away certificate authority for servers on loopback."""

import ssl
from pathlib import Path

import trustme


class CertificateAuthority:
    """Issues certificates for loopback addresses; a client that trusts it verifies them like any others."""

    def __init__(self) -> None:
        self._ca = trustme.CA()

    @property
    def pem(self) -> bytes:
        """The authority's certificate as PEM: what a `FEDERATION_CA_FILE` holds."""
        return self._ca.cert_pem.bytes()

    def write_pem(self, path: Path) -> Path:
        """Write the authority's certificate to *path* and return it."""
        path.write_bytes(self.pem)
        return path

    def write_server_files(self, host: str, certificate: Path, private_key: Path) -> None:
        """Write a new certificate for *host* (an address or a DNS name) and its key as PEM, for another process."""
        issued = self._ca.issue_cert(host)
        certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        private_key.write_bytes(issued.private_key_pem.bytes())

    def server_context(self, host: str) -> ssl.SSLContext:
        """Return the TLS context of a server at *host* (an address or a DNS name, without port)."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert(host).configure_cert(context)
        return context

    def client_context(self) -> ssl.SSLContext:
        """Return the TLS context of a client that trusts this authority and no other."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._ca.configure_trust(context)
        return context
