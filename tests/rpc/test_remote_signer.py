"""Signing by a homeserver that keeps its key."""

from contextlib import AsyncExitStack, asynccontextmanager

import grpc
import pytest
import trustme
from partialstate.v1 import signing_service_pb2 as pb
from partialstate.v1 import signing_service_pb2_grpc as pb_grpc
from partialstate_service.federation.signing import SigningUnavailableError
from partialstate_service.rpc.known_clients import InvalidCredentialsError
from partialstate_service.rpc.remote_signer import SigningAccess, remote_signer


class Homeserver(pb_grpc.SigningServiceServicer):
    """Signs as it is told, and remembers what it was asked."""

    def __init__(self, origin: str = "us.example", code: grpc.StatusCode | None = None) -> None:
        self.asked: list[pb.SignRequestRequest] = []
        self.metadata: list[dict[str, str]] = []
        self._origin = origin
        self._code = code

    async def SignRequest(self, request, context):  # noqa: N802 - the RPC's name
        self.asked.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        if self._code is not None:
            await context.abort(self._code, "not today")
        return pb.SignRequestResponse(origin=self._origin, key_id="ed25519:a", signature="c2ln")


@asynccontextmanager
async def signing_with(homeserver: Homeserver):
    server = grpc.aio.server()
    pb_grpc.add_SigningServiceServicer_to_server(homeserver, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with remote_signer(SigningAccess(f"127.0.0.1:{port}"), "us.example") as signer:
            yield signer
    finally:
        await server.stop(None)


async def test_the_homeserver_signs_what_is_sent():
    homeserver = Homeserver()
    async with signing_with(homeserver) as signer:
        header = await signer.sign("GET", "/_matrix/federation/v1/state_ids/!a%3Ab?x=1", "b.example", None)
        await signer.sign("POST", "/_matrix/key/v2/query", "b.example", {"server_keys": {}})
    assert header == 'X-Matrix origin="us.example",destination="b.example",key="ed25519:a",sig="c2ln"'
    first, second = homeserver.asked
    assert first == pb.SignRequestRequest(
        method="GET", uri="/_matrix/federation/v1/state_ids/!a%3Ab?x=1", destination="b.example"
    )
    assert second.content == b'{"server_keys": {}}'


@pytest.mark.parametrize(
    "homeserver",
    [Homeserver(code=grpc.StatusCode.PERMISSION_DENIED), Homeserver(origin="other.example")],
    ids=["refuses", "signs as another"],
)
async def test_no_signature_is_a_clear_error(homeserver):
    async with signing_with(homeserver) as signer:
        with pytest.raises(SigningUnavailableError, match="homeserver"):
            await signer.sign("GET", "/", "b.example", None)


async def test_an_unreachable_homeserver_is_a_clear_error(unused_tcp_port):
    async with remote_signer(SigningAccess(f"127.0.0.1:{unused_tcp_port}"), "us.example") as signer:
        with pytest.raises(SigningUnavailableError, match="UNAVAILABLE"):
            await signer.sign("GET", "/", "b.example", None)


async def test_a_homeserver_elsewhere_is_known_by_its_certificate_and_knows_us_by_a_token(tmp_path):
    ours, theirs = trustme.CA(), trustme.CA()
    issued = ours.issue_cert("127.0.0.1")
    token, authority, stranger = tmp_path / "token", tmp_path / "ca.pem", tmp_path / "other.pem"
    token.write_text("first\n")
    ours.cert_pem.write_to_path(str(authority))
    theirs.cert_pem.write_to_path(str(stranger))
    homeserver = Homeserver()
    server = grpc.aio.server()
    pb_grpc.add_SigningServiceServicer_to_server(homeserver, server)
    identity = (issued.private_key_pem.bytes(), issued.cert_chain_pems[0].bytes())
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([identity]))
    await server.start()
    try:
        async with remote_signer(
            SigningAccess(f"127.0.0.1:{port}", authority, token), "us.example"
        ) as signer:
            await signer.sign("GET", "/", "b.example", None)
            token.write_text("second-one\n")
            await signer.sign("GET", "/", "b.example", None)
        assert [each["authorization"] for each in homeserver.metadata] == [
            "Bearer first",
            "Bearer second-one",
        ]
        async with remote_signer(SigningAccess(f"127.0.0.1:{port}", stranger, token), "us.example") as signer:
            with pytest.raises(SigningUnavailableError, match="UNAVAILABLE"):
                await signer.sign("GET", "/", "b.example", None)
    finally:
        await server.stop(None)


async def test_the_homeservers_authorities_are_followed(tmp_path):
    authority = tmp_path / "ca.pem"
    before, after, homeserver = trustme.CA(), trustme.CA(), Homeserver()
    before.cert_pem.write_to_path(str(authority))
    ports = []
    async with AsyncExitStack() as stack:
        for ca in (before, after):
            issued = ca.issue_cert("127.0.0.1")
            identity = (issued.private_key_pem.bytes(), issued.cert_chain_pems[0].bytes())
            server = grpc.aio.server()
            pb_grpc.add_SigningServiceServicer_to_server(homeserver, server)
            credentials = grpc.ssl_server_credentials([identity])
            ports.append(server.add_secure_port("127.0.0.1:0", credentials))
            await server.start()
            stack.push_async_callback(server.stop, None)
        # To the one that the first authority vouches for, and to the one that only the second does.
        first, second = [
            await stack.enter_async_context(
                remote_signer(SigningAccess(f"127.0.0.1:{port}", authority), "us.example")
            )
            for port in ports
        ]
        await first.sign("GET", "/", "b.example", None)
        with pytest.raises(SigningUnavailableError, match="UNAVAILABLE"):
            await second.sign("GET", "/", "b.example", None)
        authority.write_text("no authority")
        await first.sign("GET", "/", "b.example", None)
        after.cert_pem.write_to_path(str(authority))
        await second.sign("GET", "/", "b.example", None)
        with pytest.raises(SigningUnavailableError, match="UNAVAILABLE"):
            await first.sign("GET", "/", "b.example", None)
        for ca in (before, after, before):
            ca.cert_pem.write_to_path(str(authority))
            for signer, expected in ((first, before), (second, after)):
                if ca is expected:
                    await signer.sign("GET", "/", "b.example", None)


@pytest.mark.parametrize(
    ("ca", "token", "setting"),
    [
        (None, "token", "signing_ca_file: .*ca.pem: No such file"),
        ("no authority", "token", "signing_ca_file: .*ca.pem: must be certificate authorities"),
        ("", None, "signing_token_file: .*token: No such file"),
        ("", "two words", "signing_token_file: .*token: must hold one token"),
    ],
)
async def test_a_file_that_cannot_be_used_is_named_with_its_setting(tmp_path, ca, token, setting):
    authority, token_file = tmp_path / "ca.pem", tmp_path / "token"
    if ca == "":
        trustme.CA().cert_pem.write_to_path(str(authority))
    elif ca is not None:
        authority.write_text(ca)
    if token is not None:
        token_file.write_text(token)
    with pytest.raises(InvalidCredentialsError, match=setting):
        async with remote_signer(SigningAccess("127.0.0.1:1", authority, token_file), "us.example"):
            pass
