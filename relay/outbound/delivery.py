"""Makes attempts at upstreams: all that outbound offers to the rest of the relay.

Keeps one queued client factory per host of each upstream, and what is known of the hosts' trouble.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall

from relay.config import Upstream
from relay.mail.content import Content
from relay.mail.envelope import Envelope
from relay.mail.outcome import Attempt, SiteFailure
from relay.mail.reply import Reply, reply
from relay.outbound.attempt import RunningAttempt
from relay.outbound.factory import QueuedClientFactory
from relay.outbound.hosts import HostMemory
from relay.outbound.line import Line
from relay.outbound.protocol import UpstreamSession
from relay.places import Places

STOPPING = reply(451, "4.3.2", "the relay is stopping")
NO_UPSTREAM = reply(451, "4.3.5", "no such upstream is configured")


class UpstreamHop:
    """An upstream at work."""

    def __init__(
        self,
        upstream: Upstream,
        hostname: str,
        delivery: "Delivery",
        reactor: Any,
        places: Places | None,
    ) -> None:
        self.name = upstream.name
        self.max_recipients = upstream.max_recipients
        self.stop_reply: Reply | None = None
        self.idle_timeout = upstream.idle_timeout
        self.memory = HostMemory(len(upstream.hosts))
        self.factories: Sequence[QueuedClientFactory] = tuple(
            QueuedClientFactory(upstream, host, hostname, self, reactor, places)
            for host in upstream.hosts
        )
        self._delivery = delivery
        self._reactor = reactor

    def hosts_to_try(self) -> Sequence[QueuedClientFactory]:
        factories = self.factories
        if len(factories) == 1:
            return factories
        return [factories[n] for n in self.memory.order(self._reactor.seconds())]

    def extensions(self) -> Mapping[str, str]:
        """What each of its hosts offered when last asked; nothing before one was."""
        known = [f.extensions for f in self.factories if f.extensions is not None]
        if len(known) == 1:
            return known[0]
        if not known:
            return {}
        return {word: known[0][word] for word in known[0] if all(word in each for each in known)}

    def host_failed(self, factory: QueuedClientFactory) -> None:
        self.memory.failed(self.factories.index(factory), self._reactor.seconds())

    def host_answered(self, factory: QueuedClientFactory) -> None:
        self.memory.answered(self.factories.index(factory))

    def factory_emptied(self, factory: QueuedClientFactory) -> None:
        self._delivery.check_stopped()

    def status(self) -> list[dict[str, object]]:
        now = self._reactor.seconds()
        return [
            {
                "upstream": self.name,
                **factory.status(),
                "is_skipped": not self.memory.is_due(number, now),
            }
            for number, factory in enumerate(self.factories)
        ]

    def __repr__(self) -> str:
        return f"<UpstreamHop {self.name} {self.memory!r}>"


class _Question:
    """A session was opened, and that is all."""

    def start(self, session: UpstreamSession) -> bool:
        return False

    def site_failed(self, reply: Reply, label: str) -> None:
        """It will be known once mail gets there."""


class Delivery:
    """Deliver with `deliver`, end with `stop`. Lanes are the names of the upstreams."""

    def __init__(
        self,
        upstreams: Mapping[str, Upstream],
        hostname: str,
        reactor: Any,
        places: Places | None = None,
    ) -> None:
        self._reactor = reactor
        self._hops = {
            name: UpstreamHop(upstream, hostname, self, reactor, places)
            for name, upstream in upstreams.items()
        }
        self._running = 0
        self._stopped: Deferred[None] | None = None
        self._abort_call: IDelayedCall | None = None

    def deliver(
        self, lane: str, queue_id: str, envelope: Envelope, content: Content
    ) -> Deferred[Attempt]:
        """One attempt for all recipients of the envelope. Never fails."""
        hop = self._hops.get(lane)
        if hop is None:
            return succeed(Attempt({}, SiteFailure(NO_UPSTREAM, "")))
        if hop.stop_reply is not None:
            return succeed(Attempt(is_withdrawn=True))
        done: Deferred[Attempt] = Deferred()
        self._running += 1

        def finished(attempt: Attempt) -> None:
            self._running -= 1
            done.callback(attempt)
            if self._stopped is not None:
                self.check_stopped()

        RunningAttempt(hop, envelope, content, finished).begin()
        return done

    def line(self, upstream: str) -> Line:
        """A line for one client's session; the upstream must be one of the config."""
        return Line(self._hops[upstream], self._reactor)

    def extensions(self, upstream: str) -> Mapping[str, str]:
        """Upper-case keyword -> parameters, as far as they are known."""
        return self._hops[upstream].extensions()

    def learn(self, upstream: str) -> None:
        """Open a session, to know what it offers before the first client asks."""
        self._hops[upstream].factories[0].submit(_Question())

    def forget_trouble(self, lane: str) -> None:
        """Try hosts that failed lately, too: an operator wants it."""
        hop = self._hops.get(lane)
        if hop is not None:
            hop.memory.forget()

    def status(self) -> list[dict[str, object]]:
        """A row per host, for relayctl status."""
        return [row for hop in self._hops.values() for row in hop.status()]

    def stop(self, within: float) -> Deferred[None]:
        """Let attempts under way end within that many seconds; what is left then is delayed.

        Fires when every attempt is answered and every session closed.
        """
        self._stopped = Deferred()
        self._abort_call = self._reactor.callLater(within, self._abort)
        stopped = self._stopped
        for hop in self._hops.values():
            for factory in hop.factories:
                factory.leave()
        self.check_stopped()
        return stopped

    def _abort(self) -> None:
        for hop in self._hops.values():
            hop.stop_reply = STOPPING
        for hop in self._hops.values():
            for factory in hop.factories:
                factory.abort(STOPPING)

    def check_stopped(self) -> None:
        """A factory has nothing left, or an attempt ended."""
        if self._stopped is None or self._running:
            return
        factories = [f for hop in self._hops.values() for f in hop.factories]
        if not all(factory.is_empty for factory in factories):
            return
        stopped, self._stopped = self._stopped, None
        if self._abort_call is not None and self._abort_call.active():
            self._abort_call.cancel()
        stopped.callback(None)

    def __repr__(self) -> str:
        return f"<Delivery {len(self._hops)} upstreams, {self._running} attempts>"
