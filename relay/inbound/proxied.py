"""A proxy's connection until its PROXY header is there: then a session takes it over.

Nothing is said before that, and nothing but the header is read. A connection without one is closed;
the traffic log tells why.
"""

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IProtocol, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import classImplements

from relay.inbound.admission import Admission
from relay.inbound.proxy_header import BadHeader, Header, read_header

HEADER_TIMEOUT = 10.0
"""Seconds for the header: it comes with the connection (specification 2: at least 3, for a segment
that was lost)."""

_ADVICE = "let the proxy there send one (send-proxy), or take it out of proxy_protocol_from"


class AwaitingHeader:
    """`admit(self, header)`: who takes the connection over. `refused(why)`: for the log.

    `ended(self)`: it closed before that.
    """

    transport: Any

    def __init__(
        self,
        clock: IReactorTime,
        admission: Admission,
        admit: Callable[["AwaitingHeader", Header], Any],
        refused: Callable[[str], None],
        ended: Callable[["AwaitingHeader"], None],
    ) -> None:
        self._admission = admission
        self._admit = admit
        self._refused = refused
        self._ended = ended
        self._octets = b""
        self._is_closing = False
        self._is_over = False
        self._has_place = False
        self._due_at = clock.seconds() + HEADER_TIMEOUT

    def makeConnection(self, transport: Any) -> None:
        self.transport = transport
        self.connectionMade()

    def connectionMade(self) -> None:
        self._admission.ask_unnamed(self._placed)

    def _placed(self, had_place: bool) -> None:
        """Maybe at once, maybe when all is over."""
        self._has_place = had_place
        if self._is_over:
            self._give_back()
        elif not had_place and not self._is_closing:
            self._refused("too many connections: raise max_connections")
            self.leave()

    def _give_back(self) -> None:
        self._is_over = True
        if self._has_place:
            self._has_place = False
            self._admission.leave_unnamed()

    def dataReceived(self, data: bytes) -> None:
        if self._is_closing:
            return
        self._octets += data  # a few hundred octets at most, and one read more
        try:
            header = read_header(self._octets)
        except BadHeader as fault:
            self._close(str(fault))
            return
        if header is not None:
            self._hand_over(header)

    def _hand_over(self, header: Header) -> None:
        self._give_back()
        transport, rest = self.transport, self._octets[header.size :]
        transport.protocol = session = self._admit(self, header)
        session.makeConnection(transport)
        if rest:
            transport.protocol.dataReceived(rest)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self._is_closing:
            self._tell("it closed before a PROXY header was there")
        self._give_back()
        self._ended(self)

    def judge_time(self, now: float) -> None:
        """Ends it if the header does not come."""
        if now >= self._due_at and not self._is_closing:
            self._close(f"no PROXY header came within {HEADER_TIMEOUT:g} s")

    def _close(self, why: str) -> None:
        self._tell(why)
        self.leave()

    def _tell(self, why: str) -> None:
        self._refused(f"{why}: {_ADVICE}")

    def leave(self) -> None:
        """Nobody waits for anything here."""
        self._is_closing = True
        self.transport.abortConnection()

    def abort(self) -> None:
        self.leave()

    def __repr__(self) -> str:
        return f"<AwaitingHeader {len(self._octets)} octets>"


classImplements(AwaitingHeader, IProtocol)
