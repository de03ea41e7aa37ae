"""Makes attempts at upstreams: all that outbound offers to the rest of the relay.

Keeps the upstreams of the config at work, and those of the one before until they have ended.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from relay.config import Upstream
from relay.config.upstream import Identity
from relay.mail.content import Content
from relay.mail.envelope import Envelope, Origin
from relay.mail.outcome import Attempt, SiteFailure
from relay.mail.reply import Reply, reply
from relay.notices import Notice, Observer
from relay.outbound.attempt import RunningAttempt
from relay.outbound.conversions import Conversions
from relay.outbound.directory import Directory
from relay.outbound.domains import STOPPING, DomainsHop
from relay.outbound.identity.choice import lanes_of
from relay.outbound.identity.making import own_tokens
from relay.outbound.identity.shared_token import SharedTokens
from relay.outbound.line import Line
from relay.outbound.next_hops import split_lane
from relay.outbound.premises import Premises
from relay.outbound.protocol import UpstreamSession
from relay.outbound.security import Securities
from relay.outbound.ticker import Ticker
from relay.outbound.turns import Turns
from relay.outbound.upstream_hop import UpstreamHop
from relay.places import SharedPlaces
from relay.queue.lane_book import is_eased
from relay.smtp.conveying import Conveyed

NO_UPSTREAM = reply(451, "4.3.5", "no such upstream is configured")
CHANGED = reply(451, "4.3.2", "the upstream's configuration has changed")


class _Question:
    """A session was opened, and that is all."""

    def start(self, session: UpstreamSession) -> bool:
        return False

    def site_failed(self, reply: Reply, label: str) -> None:
        """It will be known once mail gets there."""


Done = Callable[[Attempt | Failure], None]
"""Told what an attempt came to, or of a defect of ours in it."""


def _unobserved(notice: Notice) -> None:
    """Nobody wants to hear of it."""


Hop = UpstreamHop | DomainsHop


@dataclass(frozen=True, slots=True)
class Renewal:
    """What another config asks for, made and not in use yet. `changed`: the upstreams that are
    not as they were."""

    fixed: Mapping[str, UpstreamHop]
    by_domain: Mapping[str, DomainsHop]
    directory: Directory | None
    securities: Securities
    changed: frozenset[str]


class Delivery:
    """Deliver with `deliver`, end with `stop`. Lanes are named by `next_hops`.

    Raises TlsUnusable where an upstream's certificates cannot be used.
    """

    def __init__(
        self,
        upstreams: Mapping[str, Upstream],
        hostname: str,
        reactor: Any,
        places: SharedPlaces | None = None,
        workers: int = 1,
        directory: Directory | None = None,
        observe: Observer = _unobserved,
        login_changed: Callable[[str], None] = lambda lane: None,
        tokens: SharedTokens | None = None,
        turns_folder: Path | None = None,
    ) -> None:
        self._reactor = reactor
        self._premises = Premises(
            reactor,
            Ticker(reactor),
            places,
            workers,
            own_tokens(observe, reactor) if tokens is None else tokens,
            Turns(turns_folder),
            Conversions(),
            observe,
            self._emptied,
            login_changed,
        )
        self._hops: Mapping[str, UpstreamHop] = {}
        self._by_domain: Mapping[str, DomainsHop] = {}
        self._retired: list[Hop] = []
        self._directory: Directory | None = None
        self._former_directories: list[Directory] = []
        self.securities = Securities(reactor)
        self.take(self._make(upstreams, hostname, directory, self.securities))
        self._running = 0
        self._stopped: Deferred[None] | None = None
        self._abort_call: IDelayedCall | None = None

    # --- another config -----------------------------------------------------------------------

    @property
    def directory(self) -> Directory | None:
        return self._directory

    def prepare(
        self, upstreams: Mapping[str, Upstream], hostname: str, directory: Directory | None
    ) -> Renewal:
        """Nothing is changed yet. Raises TlsUnusable."""
        return self._make(upstreams, hostname, directory, self.securities.renewed())

    def _make(
        self,
        upstreams: Mapping[str, Upstream],
        hostname: str,
        directory: Directory | None,
        securities: Securities,
    ) -> Renewal:
        """Upstreams that are as before keep their sessions, and what is known of their hosts."""
        fixed: dict[str, UpstreamHop] = {}
        by_domain: dict[str, DomainsHop] = {}
        changed: set[str] = set()
        for name, upstream in upstreams.items():
            known = self._every_hop.get(name)
            is_same = known is not None and _is_same(known, upstream, hostname)
            lanes = lanes_of(upstream)
            if upstream.is_by_domain and directory is not None:
                if isinstance(known, DomainsHop) and is_same and directory is self._directory:
                    by_domain[name] = known
                    continue
                by_domain[name] = DomainsHop(
                    upstream, hostname, directory, securities, self._premises
                )
            elif not upstream.is_by_domain:
                if isinstance(known, UpstreamHop) and is_same:
                    fixed.update((lane, self._hops[lane]) for lane in lanes)
                    continue
                for lane, identity in zip(lanes, (None, *upstream.identities), strict=True):
                    fixed[lane] = UpstreamHop(
                        upstream, identity, hostname, securities, self._premises
                    )
            changed.add(name)
        return Renewal(fixed, by_domain, directory, securities, frozenset(changed))

    def take(self, renewal: Renewal) -> None:
        """From now on. Attempts that run end where they are."""
        current = {**renewal.fixed, **renewal.by_domain}
        for name, hop in self._every_hop.items():
            successor = current.get(name)
            if successor is not hop:
                self._retired.append(hop)
                hop.is_retired = True
                if isinstance(hop, UpstreamHop) and isinstance(successor, UpstreamHop):
                    successor.follow(hop)
                hop.leave(CHANGED)
        if self._directory is not None and self._directory is not renewal.directory:
            self._directory.stop_refreshing()
            self._former_directories.append(self._directory)
        self._hops, self._by_domain = renewal.fixed, renewal.by_domain
        self._directory, self.securities = renewal.directory, renewal.securities
        self._forget_retired()

    def _forget_retired(self) -> None:
        if self._retired:
            self._retired = [hop for hop in self._retired if not hop.is_empty]
        if self._former_directories and not any(isinstance(h, DomainsHop) for h in self._retired):
            former, self._former_directories = self._former_directories, []
            for directory in former:
                directory.stop()

    def _emptied(self) -> None:
        if self._retired or self._former_directories:
            self._reactor.callLater(0, self._forget_retired)  # once the attempt is told
        self.check_stopped()

    # --- attempts -----------------------------------------------------------------------------

    def deliver(
        self,
        lane: str,
        queue_id: str,
        envelope: Envelope,
        content: Content,
        origin: Origin,
        done: Done,
    ) -> None:
        """One attempt for all recipients of the envelope; `done` is told once, perhaps at once."""
        hop = self._hops.get(lane)
        if hop is None:
            self._deliver_by_domain(lane, envelope, content, done)
            return
        if hop.stop_reply is not None:
            done(Attempt(is_withdrawn=True))
            return
        self._running += 1

        def finished(attempt: Attempt) -> None:
            self._running -= 1
            done(attempt)
            if self._stopped is not None:
                self.check_stopped()

        conveyed = Conveyed(origin, queue_id) if hop.upstream.xforward else None
        RunningAttempt(hop, envelope, content, finished, conveyed).begin()

    def _deliver_by_domain(
        self, lane: str, envelope: Envelope, content: Content, done: Done
    ) -> None:
        upstream, domain = split_lane(lane)
        hop = self._by_domain.get(upstream)
        if hop is None:
            done(Attempt({}, SiteFailure(NO_UPSTREAM, "")))
            return
        self._running += 1
        attempt = hop.deliver(domain, envelope, content, is_eased=is_eased(lane))
        Deferred.fromCoroutine(attempt).addBoth(self._delivered).addBoth(done)

    def _delivered(self, result: Attempt | Failure) -> Attempt | Failure:
        self._running -= 1
        if self._retired or self._former_directories:
            self._reactor.callLater(0, self._forget_retired)
        if self._stopped is not None:
            self._reactor.callLater(0, self.check_stopped)  # once the attempt is told
        return result

    def line(self, lane: str) -> Line:
        """A line for one client's session; the lane must be one of the config."""
        return Line(self._hops[lane], self._reactor)

    def extensions(self, upstream: str) -> Mapping[str, str]:
        """Upper-case keyword -> parameters, as far as they are known. Nothing of one that the
        config has no more: a session may go on by the one before."""
        hop = self._hops.get(upstream)
        return {} if hop is None else hop.extensions()

    def learn(self, upstream: str) -> None:
        """Open a session, to know what it offers before the first client asks."""
        self._hops[upstream].factories[0].submit_fresh(_Question())  # no message, so no turn

    def forget_trouble(self, lane: str) -> None:
        """Try hosts that failed lately, too: an operator wants it."""
        upstream, domain = split_lane(lane)
        hop = self._hops.get(lane) or self._by_domain.get(upstream)
        if isinstance(hop, UpstreamHop) and hop.account is not None:
            hop.account.forget_refusal()
        if hop is not None:
            hop.memory.forget()
            for factory in list(hop.factories):
                factory.security.forget_trouble()
        if domain and upstream in self._by_domain and self._directory is not None:
            self._directory.forget()

    @property
    def _every_hop(self) -> Mapping[str, Hop]:
        return {**self._hops, **self._by_domain}

    def status(self) -> list[dict[str, object]]:
        """A row per host, for relayctl status."""
        return [row for hop in self._every_hop.values() for row in hop.status()]

    def stop(self, within: float) -> Deferred[None]:
        """Let attempts under way end within that many seconds; what is left then is delayed.

        Fires when every attempt is answered and every session closed.
        """
        self._stopped = Deferred()
        self._abort_call = self._reactor.callLater(within, self._abort)
        stopped = self._stopped
        for hop in self._living_hops():
            hop.leave()
        self.check_stopped()
        return stopped

    def _abort(self) -> None:
        hops = list(self._living_hops())
        for hop in hops:
            hop.stop_reply = STOPPING
        for directory in self._directories():
            directory.give_up()
        for hop in hops:
            for factory in list(hop.factories):
                factory.abort(STOPPING)

    def check_stopped(self) -> None:
        """A factory has nothing left, or an attempt ended."""
        if self._stopped is None or self._running:
            return
        if not all(f.is_empty for hop in self._living_hops() for f in hop.factories):
            return
        stopped, self._stopped = self._stopped, None
        if self._abort_call is not None and self._abort_call.active():
            self._abort_call.cancel()
        ended = [directory.stop() for directory in self._directories()]
        DeferredList(ended).addCallback(lambda _: stopped.callback(None))

    def _living_hops(self) -> Iterator[Hop]:
        """Those of the config, and those that have not ended yet."""
        yield from self._every_hop.values()
        yield from self._retired

    def _directories(self) -> list[Directory]:
        former = self._former_directories
        return former if self._directory is None else [self._directory, *former]

    def __repr__(self) -> str:
        return f"<Delivery {len(self._every_hop)} upstreams, {self._running} attempts>"


def _is_same(hop: Hop, upstream: Upstream, hostname: str) -> bool:
    """Whether the hop serves for that config, too. Files may hold something else by now."""
    logins: tuple[Upstream | Identity, ...] = (upstream, *upstream.identities)
    has_files = bool(upstream.ca_file or upstream.client_certificate) or any(
        login.oauth is not None and login.oauth.ca_file for login in logins
    )
    hello_name = upstream.helo or hostname
    return hop.upstream == upstream and hop.hello_name == hello_name and not has_files
