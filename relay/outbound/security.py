"""TLS with one host: what its policy asks of each session, and whether a session meets that.

Troubles are replies of our own, 4.7.4 where a host offers no TLS and 4.7.5 where that fails
(RFC 3463, RFC 5248): a policy that cannot be met delays the mail.
"""

from dataclasses import replace
from typing import Any

from cryptography import x509
from OpenSSL import SSL
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.config import HostAddress, Upstream
from relay.mail.reply import Reply, reply
from relay.net.tls import start_tls
from relay.outbound.broken_tls import BrokenTls
from relay.tls import dane
from relay.tls.certificate import chain_words, is_for, names_of
from relay.tls.client import ClientConnectionCreator, ClientContexts, files_of
from relay.tls.policy import Level, TlsPolicy
from relay.tls.trouble import handshake_trouble

MAX_WHY = 200  # characters of what a host said

_log = Logger()


class Securities:
    """Makes those of all hosts: what they share is the contexts, and the memory of broken TLS."""

    def __init__(self, reactor: Any) -> None:
        self._contexts = ClientContexts()
        self._broken = BrokenTls()
        self._reactor = reactor

    def renewed(self) -> "Securities":
        """Files are read anew; what is known of broken TLS is kept."""
        renewed = Securities(self._reactor)
        renewed._broken = self._broken
        return renewed

    def of(
        self, upstream: Upstream, host: HostAddress, policy: TlsPolicy | None = None
    ) -> "HostSecurity":
        """`policy`: from lookups; None: that of the config.

        Raises TlsUnusable where a file of the upstream cannot be used.
        """
        is_sure = policy is None or policy.is_sure
        policy = policy or TlsPolicy(Level(upstream.own_tls))
        if host.scheme == "smtps" and policy.may_go_plain:
            policy = replace(policy, level=Level.REQUIRED)
        is_wanted = policy.level is not Level.NONE
        context = self._contexts.get(files_of(upstream), policy.level) if is_wanted else None
        return HostSecurity(host, policy, context, self._broken, self._reactor, is_sure=is_sure)

    def __repr__(self) -> str:
        return f"<Securities {self._contexts!r} {self._broken!r}>"


class HostSecurity:
    """What is the same for all sessions with a host. `is_implicit`: TLS begins before SMTP does."""

    def __init__(
        self,
        host: HostAddress,
        policy: TlsPolicy,
        context: SSL.Context | None,
        broken: BrokenTls,
        reactor: Any,
        *,
        is_sure: bool,
    ) -> None:
        self.host = host.host
        self.is_sure = is_sure  # the name came from the config, or by a secure way
        self.is_implicit = host.scheme == "smtps"
        self.policy = policy
        self.names = policy.names or (host.host,)
        self.is_strict = policy.level is Level.VERIFIED  # a chain without trust ends the handshake
        self.is_address = isIPAddress(host.host) or isIPv6Address(host.host)
        is_by_dane = policy.level is Level.DANE  # asked for by the records' own name (RFC 7672 8.1)
        self.server_name = self.names[0] if is_by_dane else "" if self.is_address else host.host
        self.context = context
        self._key = str(host)
        self._broken = broken
        self._reactor = reactor

    @property
    def is_broken(self) -> bool:
        """TLS did not work there lately."""
        return self._broken.is_broken(self._key, self._reactor.seconds())

    def note_broken(self, why: Reply) -> bool:
        """TLS failed in a session. Whether it may be tried in plain."""
        if not self.policy.may_go_plain:
            return False
        self._broken.note(self._key, self._reactor.seconds())
        _log.warn("{host}: TLS does not work, mail goes in plain: {why}", host=self._key, why=why)
        return True

    def forget_trouble(self) -> None:
        self._broken.forget(self._key)

    def session(self) -> "Security":
        """For a new one."""
        return Security(self)

    def __repr__(self) -> str:
        return f"<HostSecurity {self._key} {self.policy}{' broken' if self.is_broken else ''}>"


class Security:
    """One session's. `is_started`: there is TLS, or a handshake under way."""

    __slots__ = (
        "_chain_trouble",
        "_host",
        "certificate",
        "doubt",
        "is_started",
        "is_verified",
        "summary",
    )

    def __init__(self, host: HostSecurity) -> None:
        self._host = host
        self._chain_trouble = ""
        self.is_started = False
        self.certificate: x509.Certificate | None = None
        self.doubt = ""  # why the certificate is not that of the host, as far as one can tell
        self.is_verified = False  # and it is surely the host that is meant
        self.summary = ""  # as logged: version, cipher, whether verified; "" for plain

    @property
    def host(self) -> str:
        return self._host.host

    @property
    def begins_at_once(self) -> bool:
        """With TLS, before the greeting."""
        return self._host.is_implicit

    @property
    def wants_starttls(self) -> bool:
        host = self._host
        return not (host.is_implicit or host.context is None or self._goes_plain)

    @property
    def _goes_plain(self) -> bool:
        return self._host.policy.may_go_plain and self._host.is_broken

    def start(self, session: Any) -> None:
        """Begin the handshake; the session hears `handshakeCompleted`, or that it is lost."""
        host = self._host
        assert host.context is not None
        self.is_started = True
        creator = ClientConnectionCreator(
            host.context, host.server_name, self, is_strict=host.is_strict
        )
        start_tls(session, creator, is_client=True)

    def chain_broken(self, error: int, certificate: x509.Certificate) -> None:
        if not self._chain_trouble:
            self._chain_trouble = self.doubt = chain_words(error, certificate)
            self.certificate = certificate  # maybe the last that is seen of them

    def judge(self, connection: SSL.Connection) -> Reply | None:
        """The handshake is done. The trouble, if it is not what the policy asks for."""
        certificate = connection.get_peer_certificate(as_cryptography=True)
        trouble = (
            self._dane_trouble(connection)
            if self._host.policy.level is Level.DANE
            else self._trouble(certificate)
        )
        self.certificate, self.doubt = certificate, trouble
        version, cipher = connection.get_protocol_version_name(), connection.get_cipher_name()
        self.summary = f"{version} {cipher}{'' if trouble else ' verified'}"
        self.is_verified = not trouble and self._host.is_sure
        if trouble and self._host.policy.is_verified:
            return reply(451, "4.7.5", trouble)
        return None

    def _dane_trouble(self, connection: SSL.Connection) -> str:
        host = self._host
        chain = connection.get_peer_cert_chain(as_cryptography=True) or []
        return dane.trouble_with(chain, host.policy.tlsa, host.names)

    def _trouble(self, certificate: x509.Certificate | None) -> str:
        host = self._host
        if self._chain_trouble or certificate is None:
            return self._chain_trouble or f"{host.host} showed no certificate"
        for name in host.names:
            if is_for(certificate, name, is_address=host.is_address and name == host.host):
                return ""
        return f"certificate is for {names_of(certificate)}, not {' or '.join(host.names)}"

    def lost(self, reason: Failure | None) -> Reply | None:
        """The connection ended. Why, if that was TLS's trouble."""
        if reason is None or not reason.check(SSL.Error):
            return None
        if self._chain_trouble and self._host.is_strict:
            return reply(451, "4.7.5", self._chain_trouble)
        return reply(451, "4.7.5", handshake_trouble(reason.value))

    def unmet(self, refusal: Reply | None) -> Reply | None:
        """Hello is said, and there is no TLS: the trouble, if the policy asks for it. `refusal` is
        the answer to STARTTLS, where that was offered."""
        if self.is_started or self._host.policy.may_go_plain:
            return None
        host = self._host.host
        if refusal is None:
            return reply(451, "4.7.4", f"TLS required, but {host} offers no STARTTLS")
        return reply(
            451, "4.7.4", f"TLS required, but {host} refused STARTTLS: {refusal}"[:MAX_WHY]
        )

    def __repr__(self) -> str:
        state = self.summary or ("handshake" if self.is_started else "plain")
        return f"<Security {self._host.host} {self._host.policy} {state}>"
