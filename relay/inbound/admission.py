"""Who gets a session: the limits of a listener, over all sessions and for one client's address.

They are totals over all workers: a session takes two places before its greeting, and gives them
back at its end.
"""

from collections.abc import Callable

from relay.config.schema import Listener
from relay.mail.reply import Reply, reply
from relay.places import Places

TOO_MANY = reply(421, "4.7.0", "Too many connections, try again later")
TOO_MANY_OF_YOURS = reply(421, "4.7.0", "Too many connections from your address, try again later")

Decided = Callable[[Reply | None], None]
"""Hears None where the session may begin, else what to say before closing."""


class Admission:
    """One listener's door."""

    def __init__(self, config: Listener, places: Places) -> None:
        self._config = config
        self._places = places
        self._key = f"listener {config.name}"

    def ask(self, host: str, decided: Decided) -> None:
        """A client at `host` wants a session. `decided` is called once, maybe at once; where it
        hears None, `leave` is owed."""

        def had_one(had: bool) -> None:
            if had:
                limit = self._config.max_connections_per_client
                self._places.take(self._client_key(host), limit, had_both)
            else:
                decided(TOO_MANY)

        def had_both(had: bool) -> None:
            if not had:
                self._places.give(self._key)
            decided(None if had else TOO_MANY_OF_YOURS)

        self._places.take(self._key, self._config.max_connections, had_one)

    def move(self, before: str, host: str, decided: Decided) -> None:
        """The same for a session that was `before`'s and is to be `host`'s: where `decided` hears
        None, `leave` is owed; else nothing is any more."""

        def had_it(had: bool) -> None:
            if not had:
                self._places.give(self._key)
            decided(None if had else TOO_MANY_OF_YOURS)

        self._places.give(self._client_key(before))
        limit = self._config.max_connections_per_client
        self._places.take(self._client_key(host), limit, had_it)

    def leave(self, host: str) -> None:
        """The session has ended."""
        self._places.give(self._client_key(host))
        self._places.give(self._key)

    def _client_key(self, host: str) -> str:
        return f"{self._key} client {host}"
