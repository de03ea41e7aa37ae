"""The server's side of TLS for one listener: contexts by name (SNI), renewed with their files.

A context is never changed after its first use: changed files make new ones, for new handshakes;
sessions go on under the old. Files that cannot be used leave the old contexts in place, with an
alarm. RFC 3207, 6066 3, 8314, 8996.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from OpenSSL import SSL
from OpenSSL.crypto import X509
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from zope.interface import implementer

from relay.config.listener import Listener
from relay.notices import Alarm, AlarmOver, Observer
from relay.tls.certificates import (
    CertificateUnusable,
    Pair,
    all_names,
    read_certificates,
    read_pair,
    stamps,
)
from relay.tls.trouble import reasons

LOOK_EVERY = 1.0
"""Seconds between two looks at the files, however many handshakes there are."""

MAX_CLIENT_CHAIN = 8
"""Certificates between a client's and the root: more are not verified."""

CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES:!aNULL"
"""TLS 1.2 with forward secrecy; 1.3 has no others."""

LEGACY_CIPHERS = b"DEFAULT:!aNULL:!eNULL@SECLEVEL=0"
"""Level 0 alone lets OpenSSL 3 do TLS 1.0 and 1.1 (their signatures are SHA-1)."""

_OPTIONS = (
    SSL.OP_NO_COMPRESSION
    | SSL.OP_NO_TICKET  # Outlook breaks off where it gets one; TLS 1.3 sends some all the same
    | SSL.OP_NO_RENEGOTIATION
    | SSL.OP_CIPHER_SERVER_PREFERENCE
)
_VERSIONS = {"1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}


@dataclass(frozen=True, slots=True)
class TlsFacts:
    """What a handshake came to. `names`: of the client's certificate, if it was verified."""

    version: str  # "TLSv1.3"
    cipher: str  # "TLS_AES_256_GCM_SHA384"
    names: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.names[0] if self.names else ""

    def __str__(self) -> str:
        return f"{self.version} {self.cipher}"


class ServerConnection(SSL.Connection):
    """With what came of the client's certificate; None: it showed none."""

    is_verified: bool | None = None
    contexts: object = None  # kept as long as OpenSSL may call what they hold


@implementer(IOpenSSLServerConnectionCreator)
class Contexts:
    """One generation: a context for each pair, and which of them a name means."""

    def __init__(self, listener: Listener, pairs: Sequence[Pair], authorities: Any) -> None:
        self._by_name: dict[str, SSL.Context] = {}
        contexts = [_context(listener, pair, authorities) for pair in pairs]
        self._default = contexts[0]
        self._default.set_tlsext_servername_callback(self._choose)
        for pair, context in zip(pairs, contexts, strict=True):
            for name in pair.names:
                self._by_name.setdefault(name, context)

    def serverConnectionForTLS(self, protocol: object) -> SSL.Connection:
        connection = ServerConnection(self._default, None)
        connection.contexts = self
        return connection

    def _choose(self, connection: SSL.Connection) -> None:
        """By the name that the client asks for; one that nobody knows gets the first."""
        context = self._by_name.get(wanted := _name_asked_for(connection))
        if context is None:
            context = self._by_name.get("*." + wanted.partition(".")[2], self._default)
        if context is not self._default:
            connection.set_context(context)


def _name_asked_for(connection: SSL.Connection) -> str:
    return (connection.get_servername() or b"").decode("ascii", "replace").lower().rstrip(".")


def _context(listener: Listener, pair: Pair, authorities: Any) -> SSL.Context:
    is_legacy = listener.profile == "legacy-device"
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_VERSION if is_legacy else SSL.TLS1_2_VERSION)
    context.set_max_proto_version(_VERSIONS[listener.tls_max])
    context.set_cipher_list(LEGACY_CIPHERS if is_legacy else CIPHERS)
    context.set_options(_OPTIONS)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.use_certificate(pair.chain[0])
    for above in pair.chain[1:]:
        context.add_extra_chain_cert(above)
    context.use_privatekey(pair.key)
    if authorities:
        _ask_for_certificates(context, authorities)
    return context


def _ask_for_certificates(context: SSL.Context, authorities: Any) -> None:
    """A client may go without one, or with one that others issued: it is nobody then."""
    store = context.get_cert_store()
    assert store is not None
    for authority in authorities:
        store.add_cert(X509.from_cryptography(authority))
        context.add_client_ca(authority)
    context.set_session_id(b"relay")
    context.set_verify_depth(MAX_CLIENT_CHAIN)
    context.set_verify(SSL.VERIFY_PEER, _note_verification)


def _note_verification(
    connection: Any, certificate: object, error: int, depth: int, is_right: int
) -> bool:
    """Called for each certificate of the chain, the client's own last, and for each error."""
    if not is_right:
        connection.is_verified = False
    elif depth == 0 and connection.is_verified is None:
        connection.is_verified = True
    return True


def facts_of(connection: ServerConnection) -> TlsFacts:
    """After the handshake."""
    names: tuple[str, ...] = ()
    if connection.is_verified:
        certificate = connection.get_peer_certificate(as_cryptography=True)
        names = () if certificate is None else all_names(certificate)
    version = connection.get_protocol_version_name()
    return TlsFacts(version, connection.get_cipher_name() or "", names)


class ServerTls:
    """The TLS of a listener. Raises CertificateUnusable where its files cannot be used."""

    def __init__(self, listener: Listener, observe: Observer, seconds: Callable[[], float]) -> None:
        self._listener = listener
        self._observe = observe
        self._seconds = seconds
        self.is_implicit = listener.tls == "implicit"
        self.handshake_timeout = listener.handshake_timeout
        self._paths = [path for pair in listener.certificates for path in pair.paths]
        if listener.client_ca is not None:
            self._paths.append(listener.client_ca)
        self._stamps = stamps(self._paths)
        self._contexts = self._read()
        self._looked_at = seconds()
        self._is_failing = False

    def contexts(self) -> Contexts:
        """For a handshake that begins now."""
        now = self._seconds()
        if now - self._looked_at >= LOOK_EVERY or now < self._looked_at:
            self._looked_at = now
            self._look()
        return self._contexts

    def _look(self) -> None:
        found = stamps(self._paths)
        if found == self._stamps:
            return
        self._stamps = found
        what = f"certificates of {self._listener.name}"
        try:
            self._contexts = self._read()
        except CertificateUnusable as error:
            self._is_failing = True
            self._observe(Alarm(what, f"{error}; the former ones stay in use"))
        else:
            if self._is_failing:
                self._is_failing = False
                self._observe(AlarmOver(what, "the new ones are in use"))

    def _read(self) -> Contexts:
        listener = self._listener
        pairs = [read_pair(each.certificate, each.key_file) for each in listener.certificates]
        authorities = () if listener.client_ca is None else read_certificates(listener.client_ca)
        try:
            return Contexts(listener, pairs, authorities)
        except SSL.Error as error:
            raise CertificateUnusable(
                f"OpenSSL does not take the certificates of {listener.name}: {reasons(error)}"
            ) from None

    def __repr__(self) -> str:
        return f"<ServerTls {self._listener.name} {self._listener.tls}>"
