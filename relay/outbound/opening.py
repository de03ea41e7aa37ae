"""Opens one session to a host: finds its addresses and tries one after the other (RFC 5321 5.1).

An address counts as tried when a session there got as far as a hello, or did not.
"""

import os
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from twisted.internet.interfaces import IAddress, IConnector
from twisted.internet.protocol import ClientFactory
from twisted.python.failure import Failure

from relay.config import HostAddress
from relay.mail.reply import Reply
from relay.net.ports import connect_tcp
from relay.outbound.addresses import AddressFinder
from relay.outbound.protocol import UpstreamSession


class OpeningOwner(Protocol):
    """Whoever wants the session."""

    def opening_failed(self, opening: "Opening", trouble: Reply, label: str) -> None:
        """No address gave a session; the last trouble, and where it was met."""


class Opening(ClientFactory[Any]):
    """One attempt to get a session. `session`: the one being tried, once there is a connection."""

    noisy = False

    def __init__(
        self,
        host: HostAddress,
        addresses: AddressFinder,
        connect_timeout: float,
        owner: OpeningOwner,
        make_session: Callable[[str], UpstreamSession],
        reactor: Any,
        bind: str = "",
    ) -> None:
        self._host = host
        self._bind = bind  # the address to connect from, "" for the system's choice
        self._addresses = addresses
        self._connect_timeout = connect_timeout
        self._owner = owner
        self._make_session = make_session
        self._reactor = reactor
        self.session: UpstreamSession | None = None
        self.former: UpstreamSession | None = None  # the one tried before; it may say QUIT yet
        self._left: list[str] = []
        self._address = ""
        self._label = f"{host.host}:{host.port}"
        self._connector: IConnector | None = None
        self._is_given_up = False
        self.has_place = False  # one was taken for it

    def begin(self) -> None:
        self._addresses.find().addCallback(self._found)

    def _found(self, addresses: Sequence[str]) -> None:
        text = f"no address found for {self._host.host}; is the name right, does DNS answer?"
        if self._bind and addresses:
            addresses = [each for each in addresses if (":" in each) == (":" in self._bind)]
            text = f"{self._host.host} has no address that can be reached from {self._bind}"
        self._left = list(addresses)
        self.try_next(Reply(451, "4.4.3", (text,)))

    def try_next(self, trouble: Reply) -> None:
        """`trouble`: why the address before would not do."""
        self.former, self.session = self.session or self.former, None
        if self._is_given_up:
            return
        if not self._left:
            self._owner.opening_failed(self, trouble, self._label)
            return
        address = self._address = self._left.pop(0)
        self._label = f"{self._host.host}[{address}]:{self._host.port}"
        self._connector = connect_tcp(
            self._reactor,
            address,
            self._host.port,
            self,
            self._connect_timeout,
            (self._bind, 0) if self._bind else None,
        )

    def fail(self, trouble: Reply) -> None:
        """No further address is to be tried."""
        self._left.clear()
        self.try_next(trouble)

    def try_again(self, trouble: Reply) -> None:
        """The same address, in another way."""
        self._left.insert(0, self._address)
        self.try_next(trouble)

    def buildProtocol(self, addr: IAddress | None) -> Any:
        self.session = self._make_session(self._label)
        return self.session

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:
        number = getattr(reason.value, "osError", None)
        why = os.strerror(number).lower() if number else "no answer in time"
        origin = f" from {self._bind}" if self._bind else ""
        self.try_next(Reply(451, "4.4.1", (f"cannot connect{origin}: {why}",)))

    def give_up(self) -> None:
        """Nothing is heard of it any more."""
        self._is_given_up = True
        if self._connector is not None and self.session is None:
            self._connector.stopConnecting()

    def __repr__(self) -> str:
        return f"<Opening {self._label}>"
