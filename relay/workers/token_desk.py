"""Where workers get access tokens: the supervisor fetches each once, for all of them.

So one request is in flight for a grant whatever becomes of a worker meanwhile, and one process
alone writes down a refresh token that was rotated.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from relay.config import Upstream
from relay.outbound.identity.grants import NoToken
from relay.outbound.identity.making import grants_of
from relay.outbound.identity.shared_token import Held, SharedToken, SharedTokens, key_of

Answer = Mapping[str, Any]
"""A token, or why there is none, as it goes over the channel; clocks differ, ages do not."""

Prepared = Mapping[str, SharedToken]

CHANGED = "the upstream's configuration has changed"


class TokenDesk:
    """`take` what a configuration needs, then `have`."""

    def __init__(self, tokens: SharedTokens, clock: IReactorTime) -> None:
        self._tokens = tokens
        self._clock = clock
        self._shared: Prepared = {}
        self._former: Prepared = {}

    def prepare(self, upstreams: Sequence[Upstream]) -> Prepared:
        """Nothing is changed yet. Raises TlsUnusable."""
        return {
            key_of(user, oauth): self._tokens.of(user, oauth)
            for user, oauth in grants_of(upstreams)
        }

    def take(self, prepared: Prepared) -> None:
        """From now on. Workers may ask for those of before until their attempts have ended."""
        self._former, self._shared = self._shared, prepared

    def have(self, key: str, refused: str) -> "Deferred[Answer]":
        """For a worker. Never fails."""
        shared = self._shared.get(key) or self._former.get(key)
        had = fail(NoToken(CHANGED)) if shared is None else shared.have(refused)
        return had.addCallbacks(self._told, _trouble)

    def _told(self, held: Held) -> Answer:
        return {
            "access": held.access,
            "age": self._clock.seconds() - held.fetched_at,
            "life": held.life,
            "made_of": held.made_of,
        }

    async def settle(self, within: float) -> None:
        """See SharedTokens."""
        await self._tokens.settle(within)

    def __repr__(self) -> str:
        return f"<TokenDesk {len(self._shared)} grants>"


def _trouble(reason: Failure) -> Answer:
    reason.trap(NoToken)
    is_refusal = isinstance(reason.value, NoToken) and reason.value.is_refusal
    return {"trouble": reason.getErrorMessage(), "is_refusal": is_refusal}


def read_answer(answer: Answer, now: float) -> Held:
    """In a worker, whose clock says `now`. Raises NoToken."""
    if "trouble" in answer:
        raise NoToken(answer["trouble"], is_refusal=answer["is_refusal"])
    made_of = tuple(None if each is None else tuple(each) for each in answer["made_of"])
    return Held(answer["access"], now - answer["age"], answer["life"], made_of)
