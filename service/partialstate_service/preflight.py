"""What is read before anything is opened: files and texts that the settings name, so that a wrong one is told at once.

A store that is waited for would otherwise hide it for as long as it stays away.
"""

from partialstate_service.app import local_signer, server_config
from partialstate_service.federation.transport import tls_context
from partialstate_service.rpc.credentials import authorities_in, token_in
from partialstate_service.rpc.server import check_credentials
from partialstate_service.settings import Settings
from partialstate_service.store.urls import parse_store_url


def check_inputs(settings: Settings) -> None:
    """Read all that *settings* name.

    Raises `CannotStartError`, `InvalidCredentialsError`, `InvalidAuthoritiesError` and `UnsuitableStoreError`; the text of each names
    the setting.
    """
    check_credentials(server_config(settings))
    if settings.store_url is not None:
        parse_store_url(settings.store_url.get_secret_value())
    if settings.resyncs:
        tls_context(settings.federation_ca_file)
        _check_signing(settings)


def _check_signing(settings: Settings) -> None:
    if settings.signing_key_path is not None:
        local_signer(settings.signing_key_path, settings.server_name)
    if settings.signing_ca_file is not None:
        authorities_in(settings.signing_ca_file)
    if settings.signing_token_file is not None:
        token_in(settings.signing_token_file)
