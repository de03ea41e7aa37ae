"""The connection of one HTTPS request: bounded in what comes over it, and over when we are done.

Twisted's client reads a header of any size, and when it closes waits for the host to close, too.
Neither is left to a host that anybody may name.
"""

from typing import Any

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import connectionDone
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web.client import URI
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from relay.outbound.web.https import NotFetched

MAX_OCTETS = 256 << 10
"""Of one answer as it comes, with its header and what chunks add. The bodies that are asked for
have at most a quarter of it."""


@implementer(IStreamClientEndpoint, IAgentEndpointFactory)
class OneConnection:
    """For an Agent: `endpoint`, with TLS, whatever URI it asks for. `has_ended_whole`: the host
    ended it by TLS's own closure, so that nothing was cut off (RFC 9112 9.8)."""

    def __init__(self, endpoint: IStreamClientEndpoint) -> None:
        self._endpoint = endpoint
        self.has_ended_whole = False

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        return self

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        connecting: Deferred[Any] = self._endpoint.connect(_Factory(protocolFactory, self))
        return connecting.addCallback(lambda bounded: bounded.wrappedProtocol)


class _Factory(WrappingFactory[Any]):
    noisy = False

    def __init__(self, wrapped: IProtocolFactory, connection: OneConnection) -> None:
        super().__init__(wrapped)  # type: ignore[no-untyped-call]
        self._connection = connection

    def buildProtocol(self, addr: IAddress | None) -> "_Bounded":
        return _Bounded(self, self.wrappedFactory.buildProtocol(addr), self._connection)


class _Bounded(ProtocolWrapper):
    transport: Any

    def __init__(self, factory: _Factory, wrapped: Any, connection: OneConnection) -> None:
        super().__init__(factory, wrapped)
        self._connection = connection
        self._received = 0

    def dataReceived(self, data: bytes) -> None:
        self._received += len(data)
        if self._received > MAX_OCTETS:
            self.loseConnection()
        else:
            super().dataReceived(data)  # type: ignore[no-untyped-call]

    def loseConnection(self) -> None:
        """All is said: the host's closure would be waited for without end."""
        self.disconnecting = 1
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        state = self.transport.getHandle().get_shutdown()
        self._connection.has_ended_whole = bool(state & SSL.RECEIVED_SHUTDOWN)
        if self._received > MAX_OCTETS:
            reason = Failure(NotFetched(f"it sent more than {MAX_OCTETS} octets"))
        super().connectionLost(reason)  # type: ignore[no-untyped-call]
