"""One access token for all who need it: had when it is needed, renewed before it expires.

One fetch is under way at a time, whoever waits. Nobody waits while the token is still good.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Protocol
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

from twisted.internet.defer import Deferred, DeferredList, TimeoutError, fail, succeed
from twisted.python.failure import Failure

from relay.config.upstream import OAuth
from relay.outbound.identity.grant_secrets import Versions, versions_of
from relay.outbound.identity.grants import NoToken
from relay.outbound.identity.secret import Secret

EARLY = 300.0
"""Seconds before its end that a token is renewed, or half of its life where that is shorter."""

TOO_LATE = 10.0
"""Seconds before its end from which a token is not used any more: a session takes time to open."""

PATIENCE = 5.0
"""Seconds after a failure within which none is fetched again."""


@dataclass(frozen=True, slots=True)
class Held:
    """An access token. `fetched_at`: by this process's clock; `life`: seconds from then; `made_of`:
    the files behind it, as the fetch has left them."""

    access: str = field(repr=False)
    fetched_at: float
    life: float
    made_of: Versions = ()

    @property
    def renew_at(self) -> float:
        return self.fetched_at + self.life - min(EARLY, self.life / 2)

    def is_good(self, now: float) -> bool:
        return now < max(self.renew_at, self.fetched_at + self.life - TOO_LATE)


class TokenSource(Protocol):
    """Where tokens come from."""

    def fetch(self, refused: str) -> Deferred[Held]:
        """A good one, and another than `refused` if there is one. Fails with NoToken alone."""


class SharedToken:
    """Of one grant. Who waits does so for `oauth.timeout` at most; the fetch may go on."""

    def __init__(self, oauth: OAuth, source: TokenSource, reactor: Any) -> None:
        self._oauth = oauth
        self._source = source
        self._reactor = reactor
        self._held: Held | None = None
        self._refused = ""  # the token that a host has refused last
        self._under_way: Deferred[None] | None = None
        self._waiting: list[Deferred[Held]] = []
        self._failure: NoToken | None = None
        self._failed_at = 0.0
        self._made_of: Versions = ()

    def have(self, refused: str = "") -> Deferred[Held]:
        """Not the one that was `refused` by a host. Fails with NoToken alone."""
        if refused:
            self._refused = refused
            if self._held is not None and self._held.access == refused:
                self._held = None
        now = self._reactor.seconds()
        is_due = self._held is None or now >= self._held.renew_at
        if is_due and self._under_way is None and not self._has_just_failed(now):
            self._begin()
        if self._held is not None and self._held.is_good(now):
            return succeed(self._held)
        if self._under_way is None:
            return fail(_like(self._failure))
        return self._wait()

    def _has_just_failed(self, now: float) -> bool:
        """And no file has changed since."""
        is_recent = self._failure is not None and now < self._failed_at + PATIENCE
        return is_recent and versions_of(self._oauth) == self._made_of

    def _wait(self) -> Deferred[Held]:
        waits: Deferred[Held] = Deferred()
        self._waiting.append(waits)
        return waits.addTimeout(self._oauth.timeout, self._reactor).addErrback(self._in_words)

    def _in_words(self, reason: Failure) -> Failure:
        if reason.check(TimeoutError):
            host = urlsplit(self._oauth.token_url).hostname
            return Failure(NoToken(f"no access token from {host}: no answer in time"))
        return reason

    # --- one fetch ----------------------------------------------------------------------------

    def _begin(self) -> None:
        self._made_of = versions_of(self._oauth)
        fetching = Deferred.fromCoroutine(self._fetch())
        self._under_way = None if fetching.called else fetching

    async def _fetch(self) -> None:
        try:
            held = await self._another()
        except NoToken as error:
            self._failure, self._failed_at = error, self._reactor.seconds()
            for waits in self._over():
                waits.errback(_like(error))
        else:
            self._held, self._failure, self._refused = held, None, ""
            for waits in self._over():
                waits.callback(held)

    async def _another(self) -> Held:
        try:
            while True:
                refused = self._refused
                held = await self._source.fetch(refused)
                if refused == self._refused or held.access != self._refused:
                    return held  # else it was refused while it was on its way
        finally:  # before anybody is told, who may begin the next one at once
            self._under_way = None

    def _over(self) -> list[Deferred[Held]]:
        waiting, self._waiting = self._waiting, []
        return waiting

    def settle(self, within: float) -> Deferred[None]:
        """Fires when nothing is under way; what takes longer is given up."""
        if self._under_way is None:
            return succeed(None)
        return self._under_way.addTimeout(within, self._reactor)

    def __repr__(self) -> str:
        state = "none" if self._held is None else f"one for {self._held.life:g} s"
        return f"<SharedToken {state} of {self._source!r}, {len(self._waiting)} waiting>"


def _like(failure: NoToken | None) -> NoToken:
    """Each who waits has one of his own: tracebacks are hung on it."""
    return NoToken(str(failure), is_refusal=failure is not None and failure.is_refusal)


def key_of(user: str, oauth: OAuth) -> str:
    """Names a grant: the same in every process. `user` counts where he is part of what is asked."""
    subject = user if oauth.grant == "service-account" else ""
    return sha256(f"{subject}\0{oauth.model_dump_json()}".encode()).hexdigest()[:32]


class SharedTokens:
    """One for each grant, as long as anybody has it. `make`: where its tokens come from, for a user
    and the grant."""

    def __init__(self, make: Callable[[str, OAuth], TokenSource], reactor: Any) -> None:
        self._make = make
        self._reactor = reactor
        self._shared: WeakValueDictionary[object, SharedToken] = WeakValueDictionary()

    def of(self, user: str, oauth: OAuth) -> SharedToken:
        """Raises TlsUnusable where oauth.ca_file cannot be used. A changed one is read again."""
        key = key_of(user, oauth), Secret("ca", oauth.ca_file).version()
        shared = self._shared.get(key)
        if shared is None:
            source = self._make(user, oauth)
            shared = self._shared[key] = SharedToken(oauth, source, self._reactor)
        return shared

    async def settle(self, within: float) -> None:
        """Before the end: an answer with a refresh token in it should not be lost."""
        await DeferredList([each.settle(within) for each in self._shared.values()])

    def __repr__(self) -> str:
        return f"<SharedTokens {len(self._shared)}>"
