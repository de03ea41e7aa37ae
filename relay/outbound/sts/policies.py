"""Which MTA-STS policy holds for a domain now (RFC 8461 3.3, 5.1): from the cache, or fetched anew.

A policy that was fetched holds until it is too old, whatever happens to its announcement or its
host meanwhile. One that cannot be fetched and never was is none.
"""

from dataclasses import replace
from typing import Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.outbound.dns.answer import Kind
from relay.outbound.dns.exchanges import Asker
from relay.outbound.sts.policy import StsPolicy, Unusable, announced_id, parse
from relay.outbound.sts.store import Kept, StsStore
from relay.outbound.web.https import NotFetched

REFRESH_AFTER = 86400.0
"""Seconds after which a policy is fetched again, as its host may have changed it without a new id
and its time should not run out (RFC 8461 3.3); or half of its max_age, if that is less."""

RETRY_AFTER = 300.0
"""Seconds until a fetch that failed is tried again (RFC 8461 3.3: not for each message)."""

NOTE_USE_EVERY = 86400.0
"""Seconds between two notes on disk that mail goes by a policy."""

MAX_FETCHES = 40
"""Fetches under way at a time; a domain beyond it is told to wait."""

MAX_OF_ONE_OWNER = 8
"""The same for the domains of one owner, as far as names tell: many of them whose host never
answers hold up nobody else."""

MAX_FAILED = 10000
"""Failures remembered; when full, all are forgotten."""

_log = Logger()


class TooBusy(Exception):
    """Too much is being fetched: whether there is a policy cannot be told now."""


class Fetcher(Protocol):
    def fetch(self, domain: str) -> Deferred[str]:
        """The policy's text. Fails with NotFetched."""


class StsPolicies:
    """Ask with `find`."""

    def __init__(
        self, resolver: Asker, fetcher: Fetcher, store: StsStore, clock: IReactorTime
    ) -> None:
        self._resolver = resolver
        self._fetcher = fetcher
        self._store = store
        self._clock = clock
        self._fetching: dict[str, list[Deferred[None]]] = {}
        self._under_way: dict[str, Deferred[None]] = {}
        self._failures: dict[str, tuple[float, str]] = {}
        self._cancelled = ""

    async def find(self, domain: str) -> StsPolicy | None:
        """None: there is none. Raises TooBusy."""
        answer = await self._resolver.ask(f"_mta-sts.{domain}", Kind.TXT)
        announced = announced_id(answer.records)
        kept = self._good(domain)
        if announced and (kept is None or kept.id != announced):
            await self._fetch(domain, announced)
            kept = self._good(domain)
        elif kept is not None and self.is_to_refresh(kept):
            self._begin(domain, kept.id)  # nobody waits for it
        if kept is None:
            return None
        self._note_use(domain, kept)
        return None if kept.policy.mode == "none" else kept.policy

    def _good(self, domain: str) -> Kept | None:
        kept = self._store.get(domain)
        now = self._clock.seconds()
        if kept is not None and self.is_to_refresh(kept):
            kept = self._store.newest(domain)
        return kept if kept is not None and kept.is_good(now) else None

    def _note_use(self, domain: str, kept: Kept) -> None:
        now = self._clock.seconds()
        if now - kept.used_at >= NOTE_USE_EVERY:
            self._store.put(domain, replace(self._store.newest(domain) or kept, used_at=now))

    def is_to_refresh(self, kept: Kept) -> bool:
        """It is time to fetch it anew."""
        age = self._clock.seconds() - kept.fetched_at
        return age > min(REFRESH_AFTER, kept.policy.max_age / 2)

    def refresh(self, domain: str) -> Deferred[None]:
        """If it is time. Fires when that is over, whatever came of it; a policy that cannot be
        fetched stays as it is. The announcement does not count (RFC 8461 10.2)."""
        kept = self._good(domain)
        if kept is not None and self.is_to_refresh(kept):
            self._begin(domain, kept.id)
        return self._end_of_fetch(domain)

    def abandon(self, domain: str) -> None:
        """Nobody wants it refreshed any more; where mail waits for it, it goes on."""
        if len(self._fetching.get(domain, ())) <= 1 and domain in self._under_way:
            self._cancel(domain)

    # --- fetching -----------------------------------------------------------------------------

    def _fetch(self, domain: str, announced: str) -> Deferred[None]:
        """Fires when there is a policy, or none to be had."""
        if domain not in self._fetching and self._may_fetch(domain):
            if self._is_full(domain):
                raise TooBusy
            self._begin(domain, announced)
        return self._end_of_fetch(domain)

    def _is_full(self, domain: str) -> bool:
        owner = owner_of(domain)
        theirs = sum(1 for each in self._fetching if owner_of(each) == owner)
        return len(self._fetching) >= MAX_FETCHES or theirs >= MAX_OF_ONE_OWNER

    def _end_of_fetch(self, domain: str) -> Deferred[None]:
        """Fires at once where there is none under way."""
        waiting = self._fetching.get(domain)
        if waiting is None:
            return succeed(None)
        done: Deferred[None] = Deferred()
        waiting.append(done)
        return done

    def _may_fetch(self, domain: str) -> bool:
        failure = self._failures.get(domain)
        return failure is None or self._clock.seconds() >= failure[0] + RETRY_AFTER

    def trouble_with(self, domain: str) -> str:
        """Why an announced policy was not had, for operators; "": it was, or none is announced."""
        failure = self._failures.get(domain)
        return "" if failure is None else f"its MTA-STS policy was not had: {failure[1]}"

    def _begin(self, domain: str, announced: str) -> None:
        if domain in self._fetching or self._is_full(domain) or not self._may_fetch(domain):
            return
        self._fetching[domain] = []
        fetched = self._fetcher.fetch(domain).addCallback(self._fetched, domain, announced)
        fetched.addErrback(self._not_fetched, domain).addCallback(self._tell, domain)
        if not fetched.called:
            self._under_way[domain] = fetched

    def _fetched(self, text: str, domain: str, announced: str) -> None:
        policy, now = parse(text), self._clock.seconds()
        known = self._store.newest(domain)
        used_at = now if known is None else known.used_at
        self._failures.pop(domain, None)
        self._store.put(domain, Kept(announced, now, policy, used_at))

    def _not_fetched(self, reason: Failure, domain: str) -> None:
        if domain == self._cancelled:  # by us: it says nothing of the domain
            return
        if len(self._failures) >= MAX_FAILED:
            self._failures.clear()
        why = reason.getErrorMessage()
        self._failures[domain] = self._clock.seconds(), why
        if reason.check(NotFetched, Unusable):
            _log.warn("no MTA-STS policy was had of {domain}: {why}", domain=domain, why=why)
        else:
            _log.failure("fetching the MTA-STS policy of {domain} broke", reason, domain=domain)

    def _tell(self, _: None, domain: str) -> None:
        self._under_way.pop(domain, None)
        for done in self._fetching.pop(domain):
            done.callback(None)

    def give_up(self) -> None:
        """Whoever waits for a policy hears at once that none was had."""
        for domain in list(self._under_way):
            self._cancel(domain)

    def _cancel(self, domain: str) -> None:
        self._cancelled = domain
        self._under_way[domain].cancel()
        self._cancelled = ""

    def __repr__(self) -> str:
        return f"<StsPolicies {self._store!r} fetching {len(self._fetching)}>"


def owner_of(domain: str) -> str:
    """Its last two labels, or three: of "a.b.example.co.uk" "example.co.uk". A guess, that no list
    of public suffixes need be kept for."""
    labels = domain.split(".")
    is_below_country = len(labels) > 2 and len(labels[-1]) == 2 and len(labels[-2]) <= 3
    return ".".join(labels[-3 if is_below_country else -2 :])
