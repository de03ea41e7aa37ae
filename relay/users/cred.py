"""Users that a checker of twisted.cred knows: LDAP, PAM, a database, whatever it asks.

It is given passwords, so there is no SCRAM with it. It must not block: it runs in the reactor.
"""

from importlib import import_module
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword, UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from relay.smtp.sasl import scram
from relay.users.file import UsersUnusable
from relay.users.pool import Busy
from relay.users.record import User
from relay.users.remembered import Remembered

CHECK_TIMEOUT = 30.0
"""Seconds for an answer; clients wait a minute or more for the reply to AUTH."""


class CheckerAccounts:
    """`place` is "package.module:factory"; the factory takes nothing and returns the checker."""

    mechanisms = ("PLAIN", "LOGIN")

    def __init__(
        self, place: str, max_checks: int, remembered: Remembered, clock: IReactorTime
    ) -> None:
        self._place = place
        self._max_checks = max_checks
        self._under_way = 0
        self._remembered = remembered
        self._clock = clock
        self._checker: Any = None

    def start(self) -> None:
        self._checker = _load(self._place)

    def stop(self) -> None:
        """What was asked may be answered, to nobody."""

    def user(self, name: str) -> User | None:
        return None

    def keys_of(self, name: str) -> scram.Keys:
        raise LookupError("a checker has no keys")

    def check(self, name: str, password: str) -> "Deferred[User | None]":
        known = self._remembered.get(name, password)
        if known is not None:
            return succeed(known)
        if self._under_way >= self._max_checks:
            return fail(Busy(f"{self._under_way} checks under way"))
        self._under_way += 1
        credentials = UsernamePassword(name.encode(), password.encode())
        asked: Deferred[Any] = maybeDeferred(self._checker.requestAvatarId, credentials)
        asked.addTimeout(CHECK_TIMEOUT, self._clock)
        asked.addBoth(self._answered)
        return asked.addCallbacks(self._known, _refused, (name, password))

    def _answered(self, answer: Any) -> Any:
        self._under_way -= 1
        return answer

    def _known(self, avatar: object, name: str, password: str) -> User | None:
        """The checker may know the user by another name; () is twisted.cred's anonymous."""
        if isinstance(avatar, bytes):
            avatar = avatar.decode("utf-8", "replace")
        if not isinstance(avatar, str) or not avatar:
            return None
        user = User(avatar)
        self._remembered.add(password, user, name)
        return user

    def __repr__(self) -> str:
        return f"<CheckerAccounts {self._place} {self._under_way} under way>"


def _refused(failure: Failure) -> None:
    """Anything but a clear no is trouble of ours."""
    failure.trap(UnauthorizedLogin)


def _load(place: str) -> Any:
    """Raises UsersUnusable."""
    module, _, attribute = place.partition(":")
    try:
        checker = getattr(import_module(module), attribute)()
    except Exception as error:
        raise UsersUnusable(
            f"auth.checker {place!r} cannot be made: {type(error).__name__}: {error}"
        ) from error
    is_fit = ICredentialsChecker.providedBy(checker) and any(
        kind.isOrExtends(IUsernamePassword) or IUsernamePassword.isOrExtends(kind)
        for kind in checker.credentialInterfaces
    )
    if not is_fit:
        raise UsersUnusable(
            f"auth.checker {place!r} is no ICredentialsChecker for IUsernamePassword"
        )
    return checker
