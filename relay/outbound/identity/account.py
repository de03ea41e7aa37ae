"""An identity at work: what its sessions log in with, and whether the upstream takes it.

A refusal for good (5xx to AUTH, no mechanism that both sides have, secrets that cannot be read) is
the identity's trouble: it is told as an alarm, and stands until a login goes well. Until one has,
sessions are tried one at a time: a wrong password is not to be shown twenty times at once.
"""

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall

from relay.config.upstream import Identity, Upstream
from relay.mail.reply import Reply, reply
from relay.notices import Alarm, AlarmOver, Observer
from relay.outbound.identity.secret import Remembered, Secret, SecretUnusable, Version
from relay.smtp.sasl.client import Login

LOOK = 5.0
"""Seconds between looks whether a refused identity's files have changed."""

REFUSED_FOR = 60.0
"""Seconds for which clients in proxy delivery are not led into the same refusal again: servers shut
out who fails too often."""

NOT_TRIED = "not tried"
"""For operators: no host has been logged in at yet."""


class NoLogin(Exception):
    """There is nothing to log in with now. `is_refusal`: for good, as far as one can tell."""

    def __init__(self, trouble: Reply, *, is_refusal: bool = False) -> None:
        super().__init__(str(trouble))
        self.trouble = trouble
        self.is_refusal = is_refusal


class Credentials(Protocol):
    """What an identity logs in with. `made_of`: the files behind the last login, as versions; those
    that the relay wrote itself, as it left them."""

    @property
    def made_of(self) -> tuple[Version | None, ...]: ...

    def login(self) -> Deferred[Login]:
        """Fails with NoLogin alone."""

    def again(self, login: Login) -> bool:
        """The host refused it: whether another one may be had, so that one more try makes sense."""

    def accepted(self) -> None:
        """A host let us in by the last login."""

    def version(self) -> tuple[Version | None, ...]:
        """Of the files it is made of."""


class Password:
    """In a file or an environment variable."""

    def __init__(self, keys: Upstream | Identity, *, may_go_plain: bool) -> None:
        self._secret = Remembered(Secret("password", keys.password_file, keys.password_env))
        self._user = keys.user or ""
        self._mechanisms = keys.mechanisms
        self._may_go_plain = may_go_plain
        self._login: Login | None = None

    def login(self) -> Deferred[Login]:
        try:
            password = self._secret.value()
        except SecretUnusable as error:
            return fail(NoLogin(reply(451, "4.7.0", str(error)), is_refusal=True))
        if self._login is None or self._login.secret != password:
            self._login = Login(self._user, password, False, self._mechanisms, self._may_go_plain)
        return succeed(self._login)

    def again(self, login: Login) -> bool:
        return False

    def accepted(self) -> None:
        """It needs not be known."""

    @property
    def made_of(self) -> tuple[Version | None, ...]:
        return (self._secret.version,)

    def version(self) -> tuple[Version | None, ...]:
        return (self._secret.secret.version(),)

    def __repr__(self) -> str:
        return f"<Password of {self._user}>"


class Account:
    """`lane`: as it is called; `changed` is called when a refused identity's files have changed."""

    def __init__(
        self,
        lane: str,
        credentials: Credentials,
        observe: Observer,
        changed: Callable[[], None],
        reactor: Any,
    ) -> None:
        self._what = f"login at {lane}"
        self._credentials = credentials
        self._observe = observe
        self._changed = changed
        self._reactor = reactor
        self._seen = credentials.version()
        self._look_call: IDelayedCall | None = None
        self._refused_at = 0.0
        self._is_resting = False
        self.refusal: Reply | None = None
        self.mechanism = ""  # of the last login that went well, "" after a refusal
        self.login_now: Login | None = None  # what a session that is opened now uses

    def login(self) -> Deferred[Login]:
        """Fails with NoLogin alone."""
        self._seen = self._credentials.version()
        return self._credentials.login().addCallback(self._has)

    def _has(self, login: Login) -> Login:
        self._seen = self._credentials.made_of
        self.login_now = login
        return login

    def again(self, login: Login) -> bool:
        """See `Credentials`."""
        return self._credentials.again(login)

    @property
    def is_proven(self) -> bool:
        return bool(self.mechanism)

    def accepted(self, mechanism: str) -> None:
        """A session was let in."""
        self.mechanism = mechanism
        self._credentials.accepted()
        if self.refusal is not None:
            self.refusal = None
            self._stop_looking()
            self._observe(AlarmOver(self._what, f"logged in by {mechanism}"))

    def refused(self, trouble: Reply, label: str) -> None:
        """For good, at `label`."""
        is_new = self.refusal is None
        self.refusal = trouble
        self.mechanism = ""
        self._refused_at = self._reactor.seconds()
        if is_new:
            self._observe(Alarm(self._what, f"{label}: {trouble}" if label else str(trouble)))
        if self._look_call is None and not self._is_resting:
            self._look_call = self._reactor.callLater(LOOK, self._look)

    def _look(self) -> None:
        self._look_call = self._reactor.callLater(LOOK, self._look)
        seen, self._seen = self._seen, self._credentials.version()
        if seen != self._seen:
            self.forget_refusal()
            self._changed()

    @property
    def stop_reply(self) -> Reply | None:
        """Set while it is of no use to try."""
        if self._refused_at and self._reactor.seconds() < self._refused_at + REFUSED_FOR:
            return self.refusal
        return None

    def forget_refusal(self) -> None:
        """Something has changed: it may be tried at once."""
        self._refused_at = 0.0

    def rest(self, *, is_replaced: bool = False) -> None:
        """Look at no file any more: the relay stops, or another one has its place."""
        self._is_resting = True
        if is_replaced and self.refusal is not None:
            self._observe(AlarmOver(self._what, "the configuration has changed"))
        self._stop_looking()

    def _stop_looking(self) -> None:
        if self._look_call is not None:
            self._look_call.cancel()
            self._look_call = None

    def status(self) -> str:
        """For relayctl status."""
        return "refused" if self.refusal is not None else self.mechanism or NOT_TRIED

    def __repr__(self) -> str:
        return f"<Account {self._what} {self.status()}>"
