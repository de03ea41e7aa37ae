"""Handshakes in memory: OpenSSL by Python's `ssl` against the server's contexts."""

import ssl
from pathlib import Path

from cryptography import x509
from OpenSSL import SSL

from relay.tls.certificates import host_names
from relay.tls.server import Contexts, ServerConnection


def shake_hands(
    contexts: Contexts, name: str | None, trusted: Path | None = None
) -> tuple[ssl.SSLObject, ServerConnection]:
    """Both ends after it. `trusted` None: whatever is shown is taken. Raises what went wrong."""
    trusting = ssl.create_default_context(cafile=trusted)
    trusting.check_hostname = trusted is not None
    if trusted is None:
        trusting.verify_mode = ssl.CERT_NONE
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trusting.wrap_bio(to_client, to_server, server_hostname=name)
    server = contexts.serverConnectionForTLS(None)
    assert isinstance(server, ServerConnection)
    server.set_accept_state()
    is_done = False
    while not is_done:
        is_done = _client_step(client)
        server.bio_write(octets) if (octets := to_server.read()) else None
        is_done = _server_step(server) and is_done
        to_client.write(_taken(server))
    return client, server


def shown(contexts: Contexts, name: str | None) -> list[str]:
    """The host names in the certificate that a client sees who asks for `name`."""
    client, _ = shake_hands(contexts, name)
    octets = client.getpeercert(binary_form=True)
    assert octets is not None
    return list(host_names(x509.load_der_x509_certificate(octets)))


def _client_step(client: ssl.SSLObject) -> bool:
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


def _server_step(server: ServerConnection) -> bool:
    try:
        server.do_handshake()
    except SSL.WantReadError:
        return False
    return True


def _taken(server: ServerConnection) -> bytes:
    try:
        return server.bio_read(1 << 16)
    except SSL.WantReadError:
        return b""
