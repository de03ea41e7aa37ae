"""Where mail for a domain goes by each mx: upstream of the config: one resolver serves them all."""

from collections.abc import Iterable
from random import SystemRandom
from typing import Any

from twisted.internet.defer import Deferred

from relay.config import Dns, Listener, Upstream
from relay.outbound.dns.exchanges import Exchanges
from relay.outbound.dns.ourselves import Ourselves
from relay.outbound.dns.question import Questions
from relay.outbound.dns.resolver import Resolver


class Directory:
    """Nothing is asked, and no thread begun, before the first mail."""

    def __init__(
        self,
        dns: Dns,
        hostname: str,
        listeners: Iterable[Listener],
        upstreams: Iterable[Upstream],
        reactor: Any,
    ) -> None:
        questions = Questions(dns.servers, dns.timeout, is_trusted=dns.trusted)
        self._resolver = Resolver(questions.ask, reactor)
        listeners = tuple(listeners)
        random = SystemRandom()
        self._exchanges = {
            each.name: Exchanges(
                self._resolver,
                Ourselves(hostname, listeners, each.hosts[0].port).is_us,
                random,
            )
            for each in upstreams
            if each.is_by_domain
        }

    def exchanges(self, upstream: str) -> Exchanges:
        """The mail hosts as that upstream connects to them."""
        return self._exchanges[upstream]

    def forget(self) -> None:
        """Ask everything anew: an operator thinks that something has changed."""
        self._resolver.forget()

    def give_up(self) -> None:
        """Whoever waits for an answer hears at once that there is none."""
        self._resolver.give_up()

    def stop(self) -> Deferred[None]:
        """Fires when the last thread has ended."""
        return self._resolver.stop()

    def __repr__(self) -> str:
        return f"<Directory {self._resolver!r}>"
