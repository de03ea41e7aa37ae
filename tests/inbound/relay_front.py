"""The inbound half of a relay on a real port, a queue in memory behind it that delivers nothing."""

import atexit
from functools import cache
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ClientCreator, Protocol

from relay.config.listener import Certificate, Listener
from relay.config.schema import Route
from relay.inbound.auth import Doorkeeper
from relay.inbound.conduct import Conduct
from relay.inbound.intake import Intake
from relay.inbound.listener import InboundFactory, InboundListener
from relay.inbound.policy import Policy
from relay.mail.address import AddressGlob
from relay.places import OwnPlaces, Places
from relay.tls.server import ServerTls
from relay.users.accounts import Accounts
from relay.users.failures import Failures, Limits
from tests.certificates import Authority
from tests.inbound.few_accounts import FewAccounts
from tests.queue.scripted import Bench


@cache
def written_certificates() -> tuple[Path, tuple[Certificate, ...]]:
    """An authority's file, and its certificate for relay.example with its key."""
    folder = Path(mkdtemp(prefix="relay-front-"))
    atexit.register(rmtree, folder)
    authority = Authority()
    certificate, key = authority.issue("relay.example").write(folder)
    return authority.write(folder), (Certificate(certificate=certificate, key=key),)


class Front:
    """Relays from 127.0.0.1 to anyone at example.org (lane a) when `networks` say so."""

    def __init__(
        self,
        networks: tuple[str, ...] = ("127.0.0.0/8",),
        postmaster: str | None = None,
        places: Places | None = None,
        accounts: Accounts | None = None,
        failures: tuple[float, float, int, float] = (0.0, 0.0, 1000, 60.0),
        **keys: Any,
    ) -> None:
        if keys.get("tls", "none") != "none":
            self.authority, certificates = written_certificates()
            keys.setdefault("certificates", certificates)
        self.bench = Bench(max_in_hand=0)  # all of it stays in the store
        self.has_space = True
        self.config = Listener(
            name="lan",
            address="127.0.0.1:0",
            relay_networks=networks,
            **keys,
        )
        self.accounts = accounts or FewAccounts()
        self.failures = Failures(Limits(*failures))
        policy = Policy(self.config, self._route_for, postmaster)
        intake = Intake(
            "relay.example",
            self.config.max_received,
            self.bench.manager,
            self.bench.hybrid,
            self.bench.store.new_content,
            self.bench.ids.next,
            lambda: self.has_space,
            reactor,  # type: ignore[arg-type]
            adds_headers=self.config.add_missing_headers,
        )
        self.sessions = iter(range(1, 10000))
        self.factory = InboundFactory(
            self.config,
            "relay.example",
            policy,
            intake,
            self.bench.notices.append,
            lambda: f"s{next(self.sessions)}",
            OwnPlaces() if places is None else places,
            Conduct(),
            keeper=self._keeper(),
            tls=ServerTls(self.config, self.bench.notices.append, reactor.seconds)  # type: ignore[attr-defined]
            if self.config.has_tls
            else None,
        )
        self.listener = InboundListener(self.config, self.factory, reactor)  # type: ignore[arg-type]
        self.listener.bind()
        self.listener.serve()

    def _keeper(self) -> Doorkeeper | None:
        if self.config.auth == "none":
            return None
        return Doorkeeper(
            self.accounts,
            self.failures,
            reactor,  # type: ignore[arg-type]
            self.bench.notices.append,
            "lan",
            is_required=self.config.auth == "required",
        )

    @staticmethod
    def _route_for(forward_path: str, reverse_path: str, listener: str) -> Route | None:
        return Route(upstream="a") if AddressGlob("*@example.org").matches(forward_path) else None

    @property
    def port(self) -> int:
        return int(self.listener.address.rpartition(":")[2])

    def contents(self) -> "Deferred[list[bytes]]":
        """What was accepted, in order."""
        works = self.bench.store.works(sorted(self.bench.listed()))
        return works.addCallback(lambda all: [b"".join(w.message.content.chunks()) for w in all])

    def connect(self) -> "Deferred[Client]":
        return ClientCreator(reactor, Client).connectTCP("127.0.0.1", self.port)

    async def stop(self) -> None:
        await self.listener.close()
        left = self.factory.leave()
        self.factory.abort()
        await left


class Client(Protocol):
    """Keeps what it hears; `heard(n)` fires once that many lines are there, `gone` at the end."""

    def __init__(self) -> None:
        self.text = b""
        self.gone: Deferred[None] = Deferred()
        self._waiting: tuple[int, Deferred[list[str]]] | None = None

    def say(self, *lines: str) -> None:
        assert self.transport is not None
        self.transport.write("".join(line + "\r\n" for line in lines).encode())

    def lines(self) -> list[str]:
        return self.text.decode().split("\r\n")[:-1]

    def heard(self, count: int) -> "Deferred[list[str]]":
        done: Deferred[list[str]] = Deferred()
        self._waiting = (count, done)
        self._check()
        return done.addTimeout(10, reactor)  # type: ignore[arg-type]

    def _check(self) -> None:
        if self._waiting is not None and len(self.lines()) >= self._waiting[0]:
            (_, done), self._waiting = self._waiting, None
            done.callback(self.lines())

    def dataReceived(self, data: bytes) -> None:
        self.text += data
        self._check()

    def connectionLost(self, reason: object = None) -> None:
        self.gone.callback(None)
