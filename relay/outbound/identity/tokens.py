"""An identity's access tokens as credentials: what it shows, and what a refusal of one means."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from relay.config.upstream import Identity, OAuth, Upstream
from relay.mail.reply import reply
from relay.outbound.identity.account import NoLogin
from relay.outbound.identity.grant_secrets import Versions, versions_of
from relay.outbound.identity.grants import NoToken
from relay.outbound.identity.shared_token import Held, SharedToken
from relay.smtp.sasl.client import Login

JUST_FETCHED = 60.0
"""Seconds for which a token counts as new: refused within them, another one would be, too."""


class Tokens:
    """Credentials (see `account`)."""

    def __init__(
        self,
        keys: Upstream | Identity,
        oauth: OAuth,
        shared: SharedToken,
        reactor: Any,
        *,
        may_go_plain: bool,
    ) -> None:
        self._oauth = oauth
        self._shared = shared
        self._user = keys.user or ""
        self._mechanisms = keys.mechanisms
        self._may_go_plain = may_go_plain
        self._reactor = reactor
        self._login: Login | None = None
        self._fetched_at = 0.0
        self._refused = ""
        self._is_doubted = False  # a token was refused, and none has been accepted since
        self.made_of: Versions = ()

    def login(self) -> Deferred[Login]:
        """Fails with NoLogin alone."""
        return self._shared.have(self._refused).addCallbacks(self._had, self._without)

    def _had(self, held: Held) -> Login:
        self._refused = ""
        self._fetched_at, self.made_of = held.fetched_at, held.made_of
        if self._login is None or self._login.secret != held.access:
            self._login = Login(self._user, held.access, True, self._mechanisms, self._may_go_plain)
        return self._login

    def _without(self, reason: Failure) -> Failure:
        reason.trap(NoToken)
        is_refusal = isinstance(reason.value, NoToken) and reason.value.is_refusal
        trouble = reply(451, "4.7.0", reason.getErrorMessage())
        return Failure(NoLogin(trouble, is_refusal=is_refusal))

    def again(self, login: Login) -> bool:
        """A token that was not just fetched may have been revoked (535): another one is had."""
        if self._login is not None and login.secret != self._login.secret:
            return True  # it was renewed meanwhile
        is_new = self._reactor.seconds() < self._fetched_at + JUST_FETCHED
        self._login, self._refused = None, login.secret
        is_second, self._is_doubted = is_new and self._is_doubted, True
        return not is_second

    def accepted(self) -> None:
        self._is_doubted = False

    def version(self) -> Versions:
        return versions_of(self._oauth)

    def __repr__(self) -> str:
        return f"<Tokens of {self._user} by {self._shared!r}>"
