"""Looks at one host of an upstream as mail would meet it, up to the login, and sends no mail.

Opens one session, by the same parts and under the same policy, and says QUIT.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cryptography import x509
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from relay.config import HostAddress, Upstream
from relay.config.upstream import Identity
from relay.mail.reply import Reply
from relay.notices import Notice
from relay.outbound.addresses import Addresses, AddressFinder
from relay.outbound.identity.account import Account, NoLogin
from relay.outbound.identity.choice import lane_name
from relay.outbound.identity.making import account_of
from relay.outbound.identity.shared_token import SharedTokens
from relay.outbound.opening import Opening
from relay.outbound.protocol import UpstreamSession
from relay.outbound.security import HostSecurity, Securities
from relay.outbound.session_maker import SessionMaker
from relay.outbound.ticker import Ticker
from relay.tls.certificate import issuer_of, names_of


@dataclass(slots=True)
class Finding:
    """What was found. `trouble` "": mail would go there. `verification`: "verified", or why not;
    `user`: as whom it logs in; `auth`: the mechanism that let us in. `policy`: what TLS is asked of
    it, and why; `domain` and `preference`: whose MX records led there."""

    upstream: str
    host: str
    domain: str = ""
    preference: int | None = None
    policy: str = ""
    policy_why: str = ""
    greeting: str = ""
    extensions: Mapping[str, str] = field(default_factory=dict)
    tls: str = ""
    certificate: str = ""
    verification: str = ""
    user: str = ""
    auth: str = ""
    trouble: str = ""


def probes_of(
    upstream: Upstream,
    hostname: str,
    securities: Securities,
    tokens: SharedTokens,
    ticker: Ticker,
    reactor: Any,
) -> Sequence["Probe"]:
    """One for each host and identity; none where recipients' domains name the hosts."""
    if upstream.is_by_domain:
        return ()
    own = [None] if upstream.user is not None or not upstream.identities else []
    return [
        Probe(
            upstream,
            identity,
            host,
            hostname,
            securities.of(upstream, host),
            Addresses(host.host, reactor),
            tokens,
            ticker,
            reactor,
        )
        for identity in (*own, *upstream.identities)
        for host in upstream.hosts
    ]


class Probe:
    """One look."""

    def __init__(
        self,
        upstream: Upstream,
        identity: Identity | None,
        host: HostAddress,
        hostname: str,
        security: HostSecurity,
        addresses: AddressFinder,
        tokens: SharedTokens,
        ticker: Ticker,
        reactor: Any,
    ) -> None:
        lane = lane_name(upstream.name, "" if identity is None else identity.name)
        user = (upstream if identity is None else identity).user
        self.finding = Finding(lane, str(host), user=user or "", policy=str(security.policy))
        self._upstream = upstream
        self._host = host
        self._ticker = ticker
        self._reactor = reactor
        self._account: Account | None = account_of(
            upstream, identity, tokens, unobserved, _nothing, reactor
        )
        self._security = security
        self._addresses = addresses
        self._maker = SessionMaker(
            upstream,
            host,
            upstream.helo or hostname,
            self._account,
            ticker,
            reactor,
        )
        self._done: Deferred[Finding] = Deferred()

    def run(self) -> "Deferred[Finding]":
        """Never fails."""
        opening = self._opening = Opening(
            self._host,
            self._addresses,
            self._upstream.timeouts.connect,
            self,
            self._make_session,
            self._reactor,
            self._upstream.bind or "",
        )
        self._log_in(opening.begin)
        return self._done

    def _log_in(self, then: Any) -> None:
        if self._account is None:
            then()
        else:
            self._account.login().addCallbacks(lambda _: then(), self._no_login)

    def _no_login(self, reason: Failure) -> None:
        reason.trap(NoLogin)
        self._opening.fail(reason.value.trouble)  # type: ignore[union-attr]

    def _make_session(self, label: str) -> UpstreamSession:
        return self._maker.make(self, label, self._security)

    def _look_at(self, session: UpstreamSession, trouble: str) -> None:
        found, security = self.finding, session.security
        found.host = session.label
        found.greeting = "" if session.greeting is None else str(session.greeting)
        found.extensions = dict(session.engine.extensions)
        found.tls = session.tls.removesuffix(" verified")
        if security.certificate is not None:
            found.certificate = _told(security.certificate)
        found.verification = security.doubt or ("verified" if session.tls else "")
        found.auth = session.mechanism
        found.trouble = trouble

    # --- what the opening and its sessions tell -------------------------------------------------

    def opening_failed(self, opening: Opening, trouble: Reply, label: str) -> None:
        self.finding.host = self.finding.host if "[" in self.finding.host else label
        self._end(str(trouble))

    def _end(self, trouble: str) -> None:
        self.finding.trouble = trouble
        if not self._done.called:
            self._done.callback(self.finding)

    def session_opened(self, session: UpstreamSession) -> None:
        self._look_at(session, "")
        session.leave()

    def session_not_opened(self, session: UpstreamSession, trouble: Reply) -> None:
        self._look_at(session, str(trouble))
        account, login = self._account, session.login
        if session.has_tls_failed and self._security.note_broken(trouble):
            self._opening.try_again(trouble)
        elif not session.is_refused:
            self._opening.try_next(trouble)
        elif account is not None and login is not None and account.again(login):
            self._log_in(lambda: self._opening.try_again(trouble))
        else:
            self._opening.fail(trouble)

    def session_gone(self, session: UpstreamSession) -> None:
        self._ticker.forget(session)
        if not self.finding.trouble:
            self._end("")

    def session_free(self, session: UpstreamSession) -> None:
        """It is never used."""

    def session_spent(self, session: UpstreamSession) -> None:
        """`session_gone` follows."""

    def session_resting(self, session: UpstreamSession, is_resting: bool) -> None:
        """It is never lent."""

    def is_worn(self, session: UpstreamSession) -> bool:
        return True

    def __repr__(self) -> str:
        return f"<Probe {self.finding.upstream} {self._host}>"


def _told(certificate: x509.Certificate) -> str:
    end = certificate.not_valid_after_utc
    return f"{names_of(certificate)}; by {issuer_of(certificate)}; until {end:%Y-%m-%d}"


def unobserved(notice: Notice) -> None:
    """The command itself tells."""


def _nothing() -> None:
    """It is over by then."""
