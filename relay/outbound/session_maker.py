"""Makes the sessions with one host, as one identity."""

from typing import Any

from relay.config import HostAddress, Upstream
from relay.outbound.identity.account import Account
from relay.outbound.protocol import Owner, UpstreamSession
from relay.outbound.security import HostSecurity
from relay.outbound.ticker import Ticker
from relay.smtp.client import ClientEngine


class SessionMaker:
    """What they have alike. `account` None: no AUTH."""

    def __init__(
        self,
        upstream: Upstream,
        host: HostAddress,
        hello_name: str,
        account: Account | None,
        ticker: Ticker,
        reactor: Any,
    ) -> None:
        self._timeouts = upstream.timeouts
        self._ignored_keywords = upstream.ignored_keywords
        self._is_lmtp = host.scheme == "lmtp"
        self._hello_name = hello_name
        self._account = account
        self._ticker = ticker
        self._reactor = reactor

    def make(self, owner: Owner, label: str, policy: HostSecurity) -> UpstreamSession:
        """One that is watched by the ticker until its owner has it forgotten."""
        security = policy.session()
        engine = ClientEngine(
            self._hello_name,
            is_lmtp=self._is_lmtp,
            ignored_keywords=self._ignored_keywords,
            wants_tls=security.wants_starttls,
            wants_auth=self._account is not None,
        )
        session = UpstreamSession(
            owner,
            engine,
            self._timeouts,
            label,
            self._reactor,
            security=security,
            is_lmtp=self._is_lmtp,
            login=None if self._account is None else self._account.login_now,
        )
        self._ticker.watch(session)
        return session
