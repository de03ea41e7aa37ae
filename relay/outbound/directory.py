"""Where mail for a domain goes by each mx: upstream of the config: one resolver serves them all."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from random import SystemRandom
from typing import Any

from twisted.internet.defer import Deferred

from relay.config import Config, Dns, Listener, Upstream
from relay.outbound.dns.exchanges import Exchanges
from relay.outbound.dns.ourselves import Ourselves
from relay.outbound.dns.question import Questions
from relay.outbound.dns.resolver import Resolver
from relay.outbound.mail_hosts import MailHosts
from relay.outbound.sts.fetch import HTTPS_PORT, PolicyFetcher
from relay.outbound.sts.policies import StsPolicies
from relay.outbound.sts.refresh import Refresher
from relay.outbound.sts.store import StsStore
from relay.outbound.web.https import authorities
from relay.queue.open_store import spool_of


def directory_of(config: Config, reactor: Any, *, is_looking: bool = False) -> "Directory":
    """As the relay of that config has it. Raises TlsUnusable."""
    spool = spool_of(config.queue.store)
    return Directory(
        config.dns,
        config.hostname,
        config.listeners,
        config.upstreams,
        reactor,
        None if spool is None else spool / "mta-sts",
        is_looking=is_looking,
    )


class Directory:
    """`folder`: where MTA-STS policies are kept, None: in memory; `is_looking`: what is there is
    used, nothing is written. Nothing is asked, and no thread begun, before the first mail. Raises
    TlsUnusable where a file of authorities cannot be used."""

    def __init__(
        self,
        dns: Dns,
        hostname: str,
        listeners: Iterable[Listener],
        upstreams: Iterable[Upstream],
        reactor: Any,
        folder: Path | None = None,
        https_port: int = HTTPS_PORT,
        *,
        is_looking: bool = False,
    ) -> None:
        questions = Questions(dns.servers, dns.timeout, is_trusted=dns.trusted)
        self._resolver = Resolver(questions.ask, reactor)
        listeners = tuple(listeners)
        self._random = SystemRandom()
        self._reactor = reactor
        self._https_port = https_port
        self._sts: dict[Path | None, StsPolicies] = {}
        self._refreshers: list[Refresher] = []
        self._hosts = {}
        for each in upstreams:
            if each.is_by_domain:
                port = each.hosts[0].port
                is_us = Ourselves(hostname, listeners, port).is_us
                exchanges = Exchanges(self._resolver, is_us, self._random)
                if each.ca_file not in self._sts:
                    store = StsStore(_folder_for(each.ca_file, folder), is_read_only=is_looking)
                    self._sts[each.ca_file] = self._policies(each.ca_file, exchanges, store)
                sts = self._sts[each.ca_file]
                self._hosts[each.name] = MailHosts(exchanges, self._resolver, sts, each.tls, port)

    def _policies(self, ca_file: Path | None, exchanges: Exchanges, store: StsStore) -> StsPolicies:
        """Those whose hosts are vouched for by these authorities."""
        roots = None if ca_file is None else authorities(ca_file)
        addresses_of = exchanges.addresses_of_name
        fetcher = PolicyFetcher(addresses_of, roots, self._reactor, self._https_port)
        policies = StsPolicies(self._resolver, fetcher, store, self._reactor)
        self._refreshers.append(Refresher(policies, store, self._reactor, self._random))
        return policies

    def begin_refreshing(self) -> None:
        """Keep MTA-STS policies from running out, also where no mail asks for them."""
        for each in self._refreshers:
            each.start()

    def stop_refreshing(self) -> None:
        """Only what mail asks for is fetched."""
        for each in self._refreshers:
            each.stop()

    def hosts(self, upstream: str) -> MailHosts:
        """The mail hosts as that upstream connects to them."""
        return self._hosts[upstream]

    def forget(self) -> None:
        """Ask everything anew: an operator thinks that something has changed."""
        self._resolver.forget()

    def give_up(self) -> None:
        """Whoever waits for an answer hears at once that there is none."""
        self._resolver.give_up()
        for policies in self._sts.values():
            policies.give_up()

    def stop(self) -> Deferred[None]:
        """Fires when the last thread has ended."""
        self.stop_refreshing()
        return self._resolver.stop()

    def __repr__(self) -> str:
        return f"<Directory {self._resolver!r}>"


def _folder_for(ca_file: Path | None, folder: Path | None) -> Path | None:
    """What private authorities vouched for is not believed by who trusts others."""
    if ca_file is None or folder is None:
        return folder
    digest = hashlib.sha256(str(ca_file).encode()).hexdigest()[:12]
    return folder.with_name(f"{folder.name}-{digest}")
