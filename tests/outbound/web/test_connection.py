"""HTTPS hosts that do odd things, asked for a policy and for a token: what comes of each."""

from pathlib import Path
from typing import Any

from OpenSSL import crypto
from twisted.internet import reactor, ssl, tcp
from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from relay.outbound.identity.endpoint import TokenEndpoint
from relay.outbound.sts import fetch
from relay.outbound.web.connection import MAX_OCTETS
from relay.outbound.web.https import NotFetched, authorities
from tests.certificates import Authority

AUTHORITY = Authority("Web root")
WEB = AUTHORITY.issue("mta-sts.sts.test", "localhost")

SOON = 0.5

TEXT = b"version: STSv1\n"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
WITHOUT_LENGTH = HEAD + b"\r\n" + TEXT
OLD = b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n" + TEXT
WHOLE = HEAD + b"Content-Length: %d\r\n\r\n" % len(TEXT) + TEXT
HALF = HEAD + b"Content-Length: 900\r\n\r\n" + TEXT
IN_CHUNKS = HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(TEXT), TEXT)
LARGE = HEAD + b"Content-Length: 70000\r\n\r\n" + b"x" * 69000
NO_END = b"X: " + b"x" * 1000 + b"\r\n"


class OddHost(Protocol):
    """After the request it says `answer` and goes on as `then` tells."""

    answer = b""
    then = "close"
    transport: Any
    is_gone = False

    def connectionLost(self, reason: object = None) -> None:
        self.is_gone = True

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(self.answer)
        getattr(self, f"_{self.then}")()

    def _close(self) -> None:
        self.transport.loseConnection()

    def _cut(self) -> None:
        """Without a word of TLS's."""
        self.transport.transport.loseConnection()

    def _stay(self) -> None:
        """It hears nothing any more, not even that the other side closes."""
        self.transport.pauseProducing()

    def _flood(self) -> None:
        self.transport.registerProducer(self, False)

    def resumeProducing(self) -> None:
        self.transport.write(NO_END * 50)

    def stopProducing(self) -> None:
        pass


class OddHostCase(TestCase):
    timeout = 20

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.ca_file = AUTHORITY.write(self.folder)
        self.hosts: list[OddHost] = []

    def serve(self, answer: bytes, then: str) -> int:
        """Its port."""

        def build(_: object) -> OddHost:
            self.hosts.append(host := OddHost())
            host.answer, host.then = answer, then
            return host

        factory = Factory()
        factory.buildProtocol = build  # type: ignore[method-assign,assignment]
        context = ssl.CertificateOptions(
            privateKey=crypto.PKey.from_cryptography_key(WEB.key),
            certificate=crypto.X509.from_cryptography(WEB.certificate),
        )
        port = reactor.listenSSL(0, factory, context, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return int(port.getHost().port)

    def policy(self, port: int) -> "Deferred[Any]":
        self.patch(fetch, "WITHIN", SOON)
        roots = authorities(self.ca_file)
        addresses = ["127.0.0.1"]
        return fetch.PolicyFetcher(lambda _: succeed(addresses), roots, reactor, port).fetch(
            "sts.test"
        )

    def token(self, port: int) -> "Deferred[Any]":
        url = f"https://localhost:{port}/token"
        return TokenEndpoint(url, self.ca_file, 5.0, SOON, reactor).ask({"a": "b"})

    async def told(self, asking: "Deferred[Any]") -> object:
        """What was had, or the trouble. Nothing of the connection is left then, on our side."""
        try:
            found = await asking
        except NotFetched as error:
            found = str(error)
        for _ in range(20):
            ours = [each for each in reactor.getReaders() if isinstance(each, tcp.Client)]
            if not ours:
                break
            await deferLater(reactor, 0.02, lambda: None)
        self.assertEqual(ours, [])
        for host in self.hosts:
            if not host.is_gone:
                host.transport.resumeProducing()
        while not all(host.is_gone for host in self.hosts):
            await deferLater(reactor, 0.01, lambda: None)
        return found

    async def check(self, answer: bytes, then: str, wanted: str) -> None:
        for ask, good in ((self.policy, TEXT.decode()), (self.token, (200, TEXT))):
            found = await self.told(ask(self.serve(answer, then)))
            if wanted:
                self.assertIn(wanted, str(found))
            else:
                self.assertEqual(found, good)


class EndTests(OddHostCase):
    """What has no length ends with the connection, and is whole where TLS says so."""

    async def test_closed_by_tls(self) -> None:
        for answer in (WITHOUT_LENGTH, OLD, WHOLE):
            await self.check(answer, "close", "")

    async def test_cut_off(self) -> None:
        for answer in (WITHOUT_LENGTH, OLD, HALF, IN_CHUNKS):
            await self.check(answer, "cut", "the answer was cut off")

    async def test_less_than_was_promised(self) -> None:
        for answer in (HALF, IN_CHUNKS):
            await self.check(answer, "close", "the answer was cut off")


class HostileTests(OddHostCase):
    async def test_stalls_in_the_midst_of_its_answer(self) -> None:
        for answer in (b"", HEAD, WITHOUT_LENGTH, HALF, IN_CHUNKS):
            await self.check(answer, "stay", "no answer in time")

    async def test_never_closes(self) -> None:
        await self.check(WHOLE, "stay", "")

    async def test_never_closes_what_is_too_large(self) -> None:
        await self.check(LARGE, "stay", "is larger than 65536 octets")

    async def test_never_closes_what_is_no_policy(self) -> None:
        answer = WHOLE.replace(b"200 OK", b"404 Not Found")
        found = await self.told(self.policy(self.serve(answer, "stay")))
        self.assertIn("answered 404", str(found))

    async def test_header_without_end(self) -> None:
        await self.check(HEAD, "flood", f"it sent more than {MAX_OCTETS} octets")

    async def test_interim_answers_without_end(self) -> None:
        interim = b"HTTP/1.1 103 Early Hints\r\n\r\n" * (MAX_OCTETS // 27)
        await self.check(interim, "stay", f"it sent more than {MAX_OCTETS} octets")
