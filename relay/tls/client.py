"""TLS contexts for sessions with upstreams, made once for each set of options and never changed.

Where the certificate is to be verified the handshake ends at a chain that is not trusted; else it
goes on, and whoever began it hears of that. Files are read when a context is made.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cryptography import x509
from OpenSSL import SSL, crypto
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from relay.config import Upstream
from relay.tls.policy import Level

ANY_CIPHER = b"DEFAULT:!aNULL:!eNULL:@SECLEVEL=0"
"""Opportunistic: what an old host has is still better than plain text."""

GOOD_CIPHERS = b"HIGH:!aNULL:!eNULL:!PSK:!SRP:!3DES:!MD5:!RC4"
"""Where TLS is demanded, it is worth its name (RFC 7525 4.1)."""


class TlsUnusable(Exception):
    """A file cannot be used; one line that says which and why."""


@dataclass(frozen=True, slots=True)
class ClientFiles:
    """`ca`: authorities in place of the system's; `certificate` (with its chain) and `key`: ours.
    A key that is not given stands in the certificate's file."""

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None


def files_of(upstream: Upstream) -> ClientFiles:
    return ClientFiles(upstream.ca_file, upstream.client_certificate, upstream.client_key)


def problems(upstreams: Sequence[Upstream]) -> list[str]:
    """Files that cannot be used, each with its upstream: with them the relay does not start."""
    found, contexts = [], ClientContexts()  # the system's authorities take milliseconds each time
    for index, upstream in enumerate(upstreams):
        try:
            contexts.get(files_of(upstream), Level.VERIFIED)
        except TlsUnusable as error:
            found.append(f"upstream[{index}]: {error}")
    return found


class Witness(Protocol):
    """Whoever hears what is wrong with the chain of one connection's certificates."""

    def chain_broken(self, error: int, certificate: x509.Certificate) -> None:
        """The first trouble: its OpenSSL number (X509_V_ERR_...), and whose certificate it is."""


class ClientContexts:
    """Those in use, by what they were made of."""

    def __init__(self) -> None:
        self._made: dict[tuple[ClientFiles, str], SSL.Context] = {}

    def get(self, files: ClientFiles, level: Level) -> SSL.Context:
        """Raises TlsUnusable."""
        key = files, level.value
        context = self._made.get(key)
        if context is None:
            context = self._made[key] = make_context(files, level)
        return context

    def __repr__(self) -> str:
        return f"<ClientContexts {len(self._made)}>"


def make_context(files: ClientFiles, level: Level) -> SSL.Context:
    """Raises TlsUnusable."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    is_demanded = level is not Level.OPPORTUNISTIC
    context.set_min_proto_version(SSL.TLS1_2_VERSION if is_demanded else SSL.TLS1_VERSION)
    context.set_cipher_list(GOOD_CIPHERS if is_demanded else ANY_CIPHER)
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
    if files.ca is None:
        context.set_default_verify_paths()
    else:
        _use(files.ca, "authorities", lambda name: context.load_verify_locations(name))
        store = context.get_cert_store()
        assert store is not None
        store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)  # a host's own certificate will do
    if files.certificate is not None:
        key = files.key or files.certificate
        _use(files.certificate, "a certificate", context.use_certificate_chain_file)
        _use(key, "the private key of the client certificate", context.use_privatekey_file)
    return context


def _use(path: Path, what: str, load: Callable[[str], object]) -> None:
    try:
        path.open("rb").close()
    except OSError as error:
        raise TlsUnusable(f"{path} cannot be read: {error.strerror}") from None
    try:
        load(str(path))
    except SSL.Error:
        raise TlsUnusable(f"{path} does not hold {what} in PEM form") from None


@implementer(IOpenSSLClientConnectionCreator)
class ClientConnectionCreator:
    """Begins TLS on one connection. `server_name` (SNI) is "" for an address literal."""

    def __init__(
        self, context: SSL.Context, server_name: str, witness: Witness, *, is_strict: bool
    ) -> None:
        self._context = context
        self._server_name = server_name
        self._witness = witness
        self._is_strict = is_strict

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        connection = SSL.Connection(self._context, None)
        connection.set_verify(SSL.VERIFY_PEER, self._check)
        if self._server_name:
            connection.set_tlsext_host_name(self._server_name.encode("ascii"))
        connection.set_connect_state()
        return connection

    def _check(
        self, _: SSL.Connection, certificate: crypto.X509, error: int, depth: int, is_good: int
    ) -> bool:
        """OpenSSL asks for each certificate of the chain, and wherever there is trouble."""
        if not is_good:
            self._witness.chain_broken(error, certificate.to_cryptography())
        return bool(is_good) or not self._is_strict
