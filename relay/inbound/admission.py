"""Who gets a session: the limits of a listener, over all sessions and for one client's address.

They are totals over all workers. A session takes two places before its greeting, and gives them
back at its end; a connection of which nobody knows yet whose it is takes the first of them.
"""

from collections.abc import Callable
from functools import partial

from twisted.internet.interfaces import IReactorTime

from relay.config.listener import Listener
from relay.inbound.conduct import Conduct
from relay.inbound.policy import UNKNOWN_HOST
from relay.mail.ip_address import key_of, unmapped
from relay.mail.reply import Reply, reply
from relay.places import Places, Taken

TOO_MANY = reply(421, "4.7.0", "Too many connections, try again later")
TOO_MANY_OF_YOURS = reply(421, "4.7.0", "Too many connections from your address, try again later")
TOO_MANY_ERRORS_OF_YOURS = reply(421, "4.7.0", "Too many errors from your address, try again later")

Decided = Callable[[Reply | None], None]
"""Hears None where the session may begin, else what to say before closing."""


class Admission:
    """One listener's door. `trusts`: whether a host may relay, and so is no stranger."""

    def __init__(
        self,
        config: Listener,
        places: Places,
        conduct: Conduct,
        trusts: Callable[[str], bool],
        clock: IReactorTime,
    ) -> None:
        self._config = config
        self._places = places
        self._trusts = trusts
        self._clock = clock
        self._conduct = conduct
        self._most_errors = config.max_errors_per_client
        self._key = f"listener {config.name}"

    def ask(self, host: str, decided: Decided) -> None:
        """A client at `host` wants a session. `decided` is called once, maybe at once; where it
        hears None, `leave` is owed."""
        if self.is_worn_out_by(host):
            decided(TOO_MANY_ERRORS_OF_YOURS)
        else:
            had_one = partial(self._had_one, host, decided)
            self._places.take(self._key, self._config.max_connections, had_one)

    def _had_one(self, host: str, decided: Decided, had: bool) -> None:
        if had:
            limit = self._config.max_connections_per_client
            had_both = partial(self._had_both, decided)
            self._places.take(self._client_key(host), limit, had_both)
        else:
            decided(TOO_MANY)

    def _had_both(self, decided: Decided, had: bool) -> None:
        if not had:
            self._places.give(self._key)
        decided(None if had else TOO_MANY_OF_YOURS)

    def move(self, before: str, host: str, decided: Decided) -> None:
        """The same for a session that was `before`'s and is to be `host`'s: where `decided` hears
        None, `leave` is owed; else nothing is any more."""
        self._places.give(self._client_key(before))
        if self.is_worn_out_by(host):
            self._places.give(self._key)
            decided(TOO_MANY_ERRORS_OF_YOURS)
            return
        limit = self._config.max_connections_per_client
        self._places.take(self._client_key(host), limit, partial(self._had_both, decided))

    def leave(self, host: str) -> None:
        """The session has ended."""
        self._places.give(self._client_key(host))
        self._places.give(self._key)

    def ask_unnamed(self, taken: Taken) -> None:
        """A connection whose client is not named yet. Where `taken` hears True, `leave_unnamed` is
        owed."""
        self._places.take(self._key, self._config.max_connections, taken)

    def leave_unnamed(self) -> None:
        """It has ended, or is a session's from now on, which asks for itself."""
        self._places.give(self._key)

    def erred(self, host: str, times: int) -> None:
        """Commands of its were refused."""
        if not self._trusts(host):
            key = self._client_key(host)
            self._conduct.erred(key, self._clock.seconds(), times, self._most_errors)

    def is_worn_out_by(self, host: str) -> bool:
        """Whether it erred too often lately."""
        conduct = self._conduct
        if not len(conduct) or self._trusts(host):
            return False
        return conduct.is_over(self._client_key(host), self._clock.seconds(), self._most_errors)

    def _client_key(self, host: str) -> str:
        return f"{self._key} client {host if self._trusts(host) else _counted_as(host)}"


def _counted_as(host: str) -> str:
    return host if host == UNKNOWN_HOST else key_of(unmapped(host))
