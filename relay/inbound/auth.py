"""One session's authentication: leads the SASL exchange, judges failures, holds who it is.

The mechanisms are the engine's (relay.smtp.sasl), the users are `relay.users`; RFC 4954. Nothing of
an exchange goes into a log but the name of a user that there is.
"""

import secrets
from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.inbound.policy import UNKNOWN_HOST
from relay.mail.address import AddressGlob
from relay.mail.ip_address import key_of, unmapped
from relay.mail.reply import Reply, reply
from relay.notices import Observer, ShutOut
from relay.smtp.sasl.commands import challenge
from relay.smtp.sasl.server import (
    MECHANISMS,
    Bad,
    Challenge,
    CheckPassword,
    Denied,
    FindKeys,
    Granted,
    Mechanism,
    Step,
)
from relay.users.accounts import Accounts
from relay.users.failures import Failures
from relay.users.pool import Busy
from relay.users.record import User

SUCCEEDED = reply(235, "2.7.0", "Authentication succeeded")
FAILED = reply(535, "5.7.8", "Authentication credentials invalid")
MALFORMED = reply(501, "5.5.2", "Malformed authentication message")
TROUBLE = reply(454, "4.7.0", "Temporary authentication failure, try again later")
SHUT_OUT = reply(421, "4.7.0", "Too many failed authentications from your address, try again later")
REQUIRED = reply(530, "5.7.0", "Authentication required")
NOT_YOUR_ADDRESS = reply(553, "5.7.1", "You may not send with this address as the sender")

_NONCE_OCTETS = 18

_log = Logger()

Then = Callable[[Reply, str, float], None]
"""The answer to AUTH or to a response; why, for the log; seconds to hold it back."""


class Doorkeeper:
    """What the sessions of one listener have in common."""

    def __init__(
        self,
        accounts: Accounts,
        failures: Failures,
        clock: IReactorTime,
        observe: Observer,
        listener: str,
        *,
        is_required: bool,
    ) -> None:
        self.accounts = accounts
        self.failures = failures
        self.clock = clock
        self.observe = observe
        self.listener = listener
        self.is_required = is_required


class Authentication:
    """A session's. `client`: its IP address, or "unknown". `then` is called once, maybe at once."""

    __slots__ = ("_keeper", "_key", "_mechanism", "_senders", "mechanism", "user")

    def __init__(self, keeper: Doorkeeper, client: str) -> None:
        self._keeper = keeper
        self._key = client if client == UNKNOWN_HOST else key_of(unmapped(client))
        self._mechanism: Mechanism | None = None
        self._senders: tuple[AddressGlob, ...] = ()
        self.mechanism = ""  # by which the user was authenticated
        self.user: User | None = None

    def refusal(self, reverse_path: str) -> Reply | None:
        """Why MAIL is not taken from whoever this is, or None."""
        if self.user is None:
            return REQUIRED if self._keeper.is_required else None
        senders = self._senders
        if senders and not any(glob.matches(reverse_path) for glob in senders):
            return NOT_YOUR_ADDRESS
        return None

    def begin(self, name: str, response: bytes | None, then: Then) -> None:
        """AUTH came."""
        if self._turn_away(then):
            return
        self.mechanism = name
        self._mechanism = MECHANISMS[name](secrets.token_urlsafe(_NONCE_OCTETS))
        self.go_on(response, then)

    def _turn_away(self, then: Then) -> bool:
        """Whether it is shut out, and was told so: to the right password as to a wrong one."""
        keeper = self._keeper
        is_shut_out = keeper.failures.is_shut_out(self._key, keeper.clock.seconds())
        if is_shut_out:
            then(SHUT_OUT, "shut out", 0.0)
        return is_shut_out

    def go_on(self, response: bytes | None, then: Then) -> None:
        """A response came, or None: nothing yet."""
        mechanism = self._mechanism
        assert mechanism is not None
        try:
            step = mechanism.step(response)
            if type(step) is FindKeys:
                step = mechanism.found(self._keeper.accounts.keys_of(step.name))
        except Bad as fault:
            then(MALFORMED, str(fault), 0.0)
        except Denied as fault:
            self._fail(mechanism.name, str(fault), then)
        else:
            self._take(step, then)

    def _take(self, step: Step, then: Then) -> None:
        if type(step) is Challenge:
            then(challenge(step.octets), "", 0.0)
        elif type(step) is CheckPassword:
            self._check(step, then)
        elif type(step) is Granted:
            self._grant(self._keeper.accounts.user(step.name), then)

    def _check(self, asked: CheckPassword, then: Then) -> None:
        keeper = self._keeper
        tried = keeper.failures.digest(asked.name, asked.password)
        if keeper.failures.is_known_wrong(self._key, keeper.clock.seconds(), tried):
            self._fail(asked.name, "wrong password", then, tried)
            return
        checked = keeper.accounts.check(asked.name, asked.password)
        about = (asked.name, tried, then)
        checked.addCallbacks(self._checked, self._not_checked, about, errbackArgs=(then,))

    def _checked(self, user: User | None, name: str, tried: bytes, then: Then) -> None:
        if user is not None:
            self._grant(user, then)
        else:
            self._fail(name, "wrong password", then, tried)

    def _not_checked(self, failure: Failure, then: Then) -> None:
        """Local trouble is no failure of the client's."""
        if failure.check(Busy):
            then(TROUBLE, f"busy: {failure.getErrorMessage()}", 0.0)
            return
        _log.error(
            "authentication: {why}", why=f"the checker failed: {type(failure.value).__name__}"
        )
        then(TROUBLE, "the checker failed", 0.0)

    def _grant(self, user: User | None, then: Then) -> None:
        if self._turn_away(then):  # by other sessions, since this one began
            return
        if user is None:
            then(FAILED, "the user is gone", 0.0)
            return
        self.user = user
        self._senders = tuple(AddressGlob(pattern) for pattern in user.senders)
        then(SUCCEEDED, "", 0.0)

    def _fail(self, name: str, why: str, then: Then, tried: bytes = b"") -> None:
        if self._turn_away(then):
            return
        keeper = self._keeper
        now = keeper.clock.seconds()
        verdict = keeper.failures.failed(self._key, now, tried, keeper.listener)
        if verdict.is_shut_out:
            keeper.observe(ShutOut(self._key, keeper.listener, verdict.count))
        # of names only known ones are told: people type their password where the name belongs
        is_known = bool(name) and keeper.accounts.user(name) is not None
        then(FAILED, f"{why}, user {name}" if is_known else f"{why}, no known user", verdict.delay)

    def __repr__(self) -> str:
        return f"<Authentication {self.user.name if self.user else 'of nobody yet'}>"
