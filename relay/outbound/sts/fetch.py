"""Fetches a domain's MTA-STS policy over HTTPS (RFC 8461 3.3): verified, and as it is said there.

No redirect is followed, the answer is bounded in size and time. Addresses come from the relay's own
resolver. What fails raises NotFetched with the reason, for operators.
"""

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError, ConnectingCancelledError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.ssl import optionsForClientTLS
from twisted.web.client import Agent, ResponseNeverReceived
from twisted.web.http_headers import Headers

from relay.outbound.web.connection import OneConnection
from relay.outbound.web.https import Body, NotFetched, as_not_fetched

HTTPS_PORT = 443
WITHIN = 60.0
"""Seconds for the whole fetch (RFC 8461 3.3: a minute is suggested)."""

CONNECT_WITHIN = 20.0
"""Seconds to connect to one address."""

MAX_SIZE = 64 << 10
"""Octets of a policy (RFC 8461 3.3: 64 KiB is suggested)."""

MAX_ADDRESSES = 3
"""Addresses of the policy host that are tried."""

PATH = "/.well-known/mta-sts.txt"

AddressesOf = Callable[[str], Deferred[Sequence[str]]]


class PolicyFetcher:
    """`trust_root`: the authorities to go by, None for the system's. `addresses_of` never fails."""

    def __init__(
        self, addresses_of: AddressesOf, trust_root: Any, reactor: Any, port: int = HTTPS_PORT
    ) -> None:
        self._addresses_of = addresses_of
        self._options = {} if trust_root is None else {"trustRoot": trust_root}
        self._reactor = reactor
        self._port = port

    def fetch(self, domain: str) -> Deferred[str]:
        """The policy's text. Fails with NotFetched alone."""
        fetching = Deferred.fromCoroutine(self._fetch(f"mta-sts.{domain}"))
        fetching.addTimeout(WITHIN, self._reactor)
        return fetching.addErrback(as_not_fetched)

    async def _fetch(self, host: str) -> str:
        addresses = (await self._addresses_of(host))[:MAX_ADDRESSES]
        trouble: Exception = NotFetched(f"{host} has no address")
        for address in addresses:
            try:
                return await self._fetch_from(host, address)
            except (ConnectError, ResponseNeverReceived) as error:
                if _was_cancelled(error):  # by the one timeout that there is for all addresses
                    raise
                trouble = error
        raise trouble

    async def _fetch_from(self, host: str, address: str) -> str:
        connection = OneConnection(self._endpoint(host, address))
        agent = Agent.usingEndpointFactory(self._reactor, connection)
        url = f"https://{host}{PATH}".encode("ascii")
        response = await agent.request(b"GET", url, Headers({b"User-Agent": [b"relay"]}))
        if response.code != 200:
            response._transport.loseConnection()
            raise NotFetched(f"{host} answered {response.code}")
        kind = response.headers.getRawHeaders(b"content-type", [b""])[0]
        if kind.partition(b";")[0].strip().lower() != b"text/plain":
            response._transport.loseConnection()
            raise NotFetched(f"{host} answered with something else than text/plain")
        body = Body("the policy", MAX_SIZE, lambda: connection.has_ended_whole)
        response.deliverBody(body)
        return (await body.done).decode("utf-8", "replace")

    def _endpoint(self, host: str, address: str) -> IStreamClientEndpoint:
        kind = TCP6ClientEndpoint if ":" in address else TCP4ClientEndpoint
        connect = kind(self._reactor, address, self._port, CONNECT_WITHIN)
        wrapped: IStreamClientEndpoint = wrapClientTLS(
            optionsForClientTLS(host, **self._options), connect
        )
        return wrapped


def _was_cancelled(error: Exception) -> bool:
    reasons = getattr(error, "reasons", ())
    return any(reason.check(CancelledError, ConnectingCancelledError) for reason in reasons)
