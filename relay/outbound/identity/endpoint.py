"""Asks a token endpoint over verified HTTPS: one POST, bounded in size and time, no redirect."""

from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IConsumer, IStreamClientEndpoint
from twisted.internet.ssl import optionsForClientTLS
from twisted.web.client import URI, Agent
from twisted.web.http_headers import Headers
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from relay.outbound.identity.grants import Form
from relay.outbound.web.connection import OneConnection
from relay.outbound.web.https import Body, as_not_fetched, authorities

MAX_SIZE = 64 << 10
"""Octets of an answer: tokens have some thousand."""

Answer = tuple[int, bytes]
"""Status code and body."""


class TokenEndpoint:
    """Raises TlsUnusable where the file of authorities cannot be used."""

    def __init__(
        self, url: str, ca_file: Path | None, connect_within: float, within: float, reactor: Any
    ) -> None:
        self.host = urlsplit(url).hostname or ""
        self._url = url.encode("ascii")
        self._port = URI.fromBytes(self._url).port
        self._within = within
        self._reactor = reactor
        self._connect_within = connect_within
        self._trust_root = None if ca_file is None else authorities(ca_file)

    def ask(self, form: Form) -> Deferred[Answer]:
        """Fails with NotFetched alone."""
        asking = Deferred.fromCoroutine(self._ask(urlencode(form).encode("ascii")))
        asking.addTimeout(self._within, self._reactor)
        return asking.addErrback(as_not_fetched)

    async def _ask(self, form: bytes) -> Answer:
        headers = {
            b"User-Agent": [b"relay"],
            b"Accept": [b"application/json"],
            b"Content-Type": [b"application/x-www-form-urlencoded"],
        }
        connection = OneConnection(self._endpoint())
        agent = Agent.usingEndpointFactory(self._reactor, connection)
        response = await agent.request(b"POST", self._url, Headers(headers), _Sent(form))
        body = Body("the answer", MAX_SIZE, lambda: connection.has_ended_whole)
        response.deliverBody(body)
        return response.code, await body.done

    def _endpoint(self) -> IStreamClientEndpoint:
        connect = HostnameEndpoint(
            self._reactor, self.host, self._port, timeout=self._connect_within
        )
        wrapped: IStreamClientEndpoint = wrapClientTLS(
            optionsForClientTLS(self.host, trustRoot=self._trust_root), connect
        )
        return wrapped

    def __repr__(self) -> str:
        return f"<TokenEndpoint {self.host}>"


@implementer(IBodyProducer)
class _Sent:
    """A request's body, all at once: it is small."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self.length = len(octets)

    def startProducing(self, consumer: IConsumer) -> "Deferred[None]":
        consumer.write(self._octets)
        return succeed(None)

    def pauseProducing(self) -> None:
        """It is gone already."""

    def resumeProducing(self) -> None:
        """As above."""

    def stopProducing(self) -> None:
        """As above."""
