"""A worker's way to access tokens: it asks the supervisor, who fetches them for all workers."""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, TimeoutError
from twisted.python.failure import Failure

from relay.config.upstream import OAuth
from relay.outbound.identity.grants import NoToken
from relay.outbound.identity.shared_token import Held, SharedTokens, key_of
from relay.workers.channel import AskFailed, Gone
from relay.workers.token_desk import Answer, read_answer

SLACK = 5.0
"""Seconds beyond `oauth.timeout` after which the supervisor does not answer, rather than the
endpoint."""

Ask = Callable[..., "Deferred[Any]"]


def asked_tokens(ask: Ask, reactor: Any) -> SharedTokens:
    """`ask(name, *arguments)` reaches the supervisor."""
    return SharedTokens(lambda user, oauth: TokenAsker(user, oauth, ask, reactor), reactor)


class TokenAsker:
    """A TokenSource."""

    def __init__(self, user: str, oauth: OAuth, ask: Ask, reactor: Any) -> None:
        self._key = key_of(user, oauth)
        self._within = oauth.timeout + SLACK
        self._ask = ask
        self._reactor = reactor

    def fetch(self, refused: str) -> Deferred[Held]:
        """See TokenSource."""
        asked = self._ask("token", self._key, refused).addTimeout(self._within, self._reactor)
        return asked.addCallbacks(self._answered, _not_answered)

    def _answered(self, answer: Answer) -> Held:
        return read_answer(answer, self._reactor.seconds())

    def __repr__(self) -> str:
        return f"<TokenAsker {self._key[:8]}>"


def _not_answered(reason: Failure) -> Held:
    reason.trap(TimeoutError, AskFailed, Gone)
    raise NoToken("no access token: the supervisor does not answer")
