"""TLS on real connections: handshakes that succeed and fail, what they grant, what is told."""

import socket
import ssl
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from relay.inbound import connection
from relay.inbound.admission import TOO_MANY_OF_YOURS
from relay.notices import Accepted, Disconnected, Rejected
from relay.places import OwnPlaces, Taken
from tests.certificates import Authority, Issued, self_signed
from tests.inbound.relay_front import Front

SILENCE = 20.0
STRANGER = ("192.0.2.0/24",)


class Talk:
    """A blocking client. Used in a thread."""

    def __init__(self, front: Front) -> None:
        self.socket = socket.create_connection(("127.0.0.1", front.port), SILENCE)
        self._trusting = ssl.create_default_context(cafile=front.authority)
        self._file: Any = self.socket.makefile("rb")

    def present(self, issued: Issued, folder: Path) -> None:
        """A certificate for the next handshake."""
        folder.mkdir(exist_ok=True)
        self._trusting.load_cert_chain(*issued.write(folder))

    def limit(self, version: ssl.TLSVersion) -> None:
        """No other version, whatever this machine's policy says of it."""
        self._trusting.set_ciphers("DEFAULT@SECLEVEL=0")
        self._trusting.minimum_version = self._trusting.maximum_version = version

    def shake_hands(self) -> None:
        self.socket = self._trusting.wrap_socket(self.socket, server_hostname="relay.example")
        self._file = self.socket.makefile("rb")

    def shake_hands_behind(self, header: bytes) -> bytes:
        """With the header of a proxy and the first octets of TLS in one segment; the greeting."""
        to_us, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = self._trusting.wrap_bio(to_us, to_server, server_hostname="relay.example")
        while True:
            try:
                return tls.read(1000)
            except ssl.SSLWantReadError:
                self.socket.sendall(header + to_server.read())
                header = b""
                to_us.write(self.socket.recv(65536))

    def send(self, octets: bytes) -> None:
        self.socket.sendall(octets)

    def reply(self) -> bytes:
        """Its last line; b"" at the end of the connection."""
        while True:
            line = self._file.readline()
            if line[3:4] != b"-":
                return line.rstrip(b"\r\n")

    def ask(self, line: str) -> bytes:
        self.send(f"{line}\r\n".encode())
        return self.reply()

    def begin_tls(self) -> None:
        """From the greeting to EHLO through TLS."""
        assert self.reply()[:3] == b"220"
        assert self.ask("EHLO client.example")[:3] == b"250"
        assert self.ask("STARTTLS") == b"220 2.0.0 Ready to start TLS"
        self.shake_hands()
        assert self.ask("EHLO client.example")[:3] == b"250"

    def transact(self, content: bytes = b"Subject: x\r\n\r\nx\r\n") -> list[bytes]:
        """The replies to one message's commands and content."""
        replies = [self.ask("MAIL FROM:<s@example.net>"), self.ask("RCPT TO:<r@example.org>")]
        if replies[-1][:3] == b"250":
            replies.append(self.ask("DATA"))
            self.send(content + b".\r\n")
            replies.append(self.reply())
        return replies

    def close(self) -> None:
        self._file.close()
        self.socket.close()


class TlsCase(TestCase):
    timeout = 60

    async def talk(self, act: Callable[[Talk], Any], **keys: Any) -> Any:
        """What `act` returns; the session is over then, and told."""
        self.front = Front(**{"tls": "starttls", **keys})
        try:
            result = await deferToThread(self._act, act)
            while self.front.factory.session_count:  # the test's own time-out ends this
                await deferLater(reactor, 0.01)
            return result
        finally:
            await self.front.stop()

    def _act(self, act: Callable[[Talk], Any]) -> Any:
        talk = Talk(self.front)
        try:
            return act(talk)
        finally:
            talk.close()

    def told(self, kind: type) -> Any:
        (notice,) = [each for each in self.front.bench.notices if isinstance(each, kind)]
        return notice


class SessionTests(TlsCase):
    async def test_a_message_tells_how_it_came(self) -> None:
        def act(talk: Talk) -> list[bytes]:
            talk.begin_tls()
            return talk.transact()

        replies = await self.talk(act)
        self.assertEqual(b"250 2.0.0 queued", replies[-1][:16])
        tls = "TLSv1.3 TLS_AES_256_GCM_SHA384"
        self.assertEqual(tls, self.told(Accepted).origin.tls)
        self.assertEqual(tls, self.told(Disconnected).tls)
        (content,) = await self.front.contents()
        self.assertIn(f" with ESMTPS\r\n\t({tls}) id ".encode(), content)

    async def test_helo_through_tls_is_no_extended_smtp(self) -> None:
        def act(talk: Talk) -> list[bytes]:
            talk.begin_tls()
            talk.ask("HELO client.example")
            return talk.transact()

        await self.talk(act)
        (content,) = await self.front.contents()
        self.assertIn(b" with SMTP\r\n\t(TLSv1.3 ", content)

    async def test_content_of_many_records_arrives_whole(self) -> None:
        whole = b"Subject: long\r\n\r\n" + b"".join(b"%060d\r\n" % n for n in range(30000))

        def act(talk: Talk) -> list[bytes]:
            talk.begin_tls()
            return talk.transact(whole)

        replies = await self.talk(act)
        self.assertEqual(b"250", replies[-1][:3])
        (content,) = await self.front.contents()
        self.assertTrue(content.endswith(whole))

    async def test_pipelined_commands_through_tls(self) -> None:
        def act(talk: Talk) -> list[bytes]:
            talk.begin_tls()
            talk.send(b"NOOP\r\n" * 2000 + b"QUIT\r\n")
            return [talk.reply() for _ in range(2002)]

        replies = await self.talk(act, max_recipients=1000)
        self.assertEqual([b"250"] * 2000 + [b"221", b""], [reply[:3] for reply in replies])

    async def test_implicit_from_the_first_octet(self) -> None:
        def act(talk: Talk) -> list[bytes]:
            talk.shake_hands()
            greeting, hello = talk.reply(), talk.ask("EHLO client.example")
            return [greeting, hello, talk.ask("STARTTLS"), *talk.transact(), talk.ask("QUIT")]

        replies = await self.talk(act, tls="implicit")
        codes = [reply[:3] for reply in replies]
        self.assertEqual([b"220", b"250", b"502", b"250", b"250", b"354", b"250", b"221"], codes)
        self.assertEqual("quit", self.told(Disconnected).reason)

    async def test_too_many_on_an_implicit_port(self) -> None:
        """Plain text would be no answer there."""

        def act(talk: Talk) -> bytes:
            talk.shake_hands()
            second = Talk(self.front)
            try:
                return second.reply()
            finally:
                second.close()

        self.assertEqual(b"", await self.talk(act, tls="implicit", max_connections_per_client=1))
        self.assertEqual(str(TOO_MANY_OF_YOURS), self.told(Rejected).reply)


class AfterTheEndTests(TlsCase):
    async def test_a_client_that_goes_on_talking_does_not_keep_the_session(self) -> None:
        """Under TLS we hear the other end until it closes, too."""
        self.patch(connection, "LAST_WORD_TIMEOUT", 0.5)

        def act(talk: Talk) -> bool:
            talk.begin_tls()
            self.assertEqual(b"221", talk.ask("QUIT")[:3])
            for _ in range(300):
                try:
                    talk.send(b"x" * 1000)
                except OSError:
                    return True
                time.sleep(0.05)
            return False

        self.assertTrue(await self.talk(act), "it was cut off while it talked")


class LaterPlaces:
    """Decides in a later turn, as it is with several workers."""

    def __init__(self) -> None:
        self._places = OwnPlaces()
        self.give = self._places.give

    def take(self, key: str, total: int, taken: Taken) -> None:
        reactor.callLater(0.05, self._places.take, key, total, taken)


class ProxiedTests(TlsCase):
    header = b"PROXY TCP4 198.51.100.7 127.0.0.1 4321 465\r\n"
    proxies = ("127.0.0.0/8",)

    async def test_implicit_tls_behind_a_proxy(self) -> None:
        def act(talk: Talk) -> bytes:
            talk.send(self.header)
            talk.shake_hands()
            return talk.reply()

        keys = {"tls": "implicit", "proxy_protocol_from": self.proxies}
        self.assertEqual(b"220", (await self.talk(act, **keys))[:3])
        self.assertEqual("198.51.100.7:4321", self.told(Disconnected).client)

    async def test_all_in_one_segment(self) -> None:
        for places in (OwnPlaces(), LaterPlaces()):
            keys = {"tls": "implicit", "proxy_protocol_from": self.proxies, "places": places}
            greeting = await self.talk(lambda talk: talk.shake_hands_behind(self.header), **keys)
            self.assertEqual(b"220", greeting[:3])
            self.assertEqual("198.51.100.7:4321", self.told(Disconnected).client)


class InjectionTests(TlsCase):
    async def test_plaintext_in_one_segment_with_starttls(self) -> None:
        def act(talk: Talk) -> list[bytes]:
            talk.reply()
            talk.ask("EHLO client.example")
            talk.send(b"STARTTLS\r\nEHLO attacker.example\r\nMAIL FROM:<a@attacker.example>\r\n")
            return [talk.reply(), talk.reply()]

        refusal, end = await self.talk(act)
        self.assertEqual((b"554 5.5.1", b""), (refusal[:9], end))
        self.assertEqual("STARTTLS", self.told(Rejected).command)
        self.assertEqual("client.example", self.told(Disconnected).helo)

    async def test_plaintext_after_the_reply(self) -> None:
        def act(talk: Talk) -> bytes:
            talk.reply()
            talk.ask("EHLO client.example")
            talk.ask("STARTTLS")
            talk.send(b"EHLO attacker.example\r\nMAIL FROM:<a@attacker.example>\r\n")
            return talk.socket.recv(100)

        answer = await self.talk(act)
        self.assertNotIn(b"250", answer)
        self.assertEqual(
            "TLS handshake failed: the other side does not speak TLS (wrong version number)",
            self.told(Disconnected).reason,
        )


class HandshakeTests(TlsCase):
    async def refused(self, act: Callable[[Talk], Any], **keys: Any) -> str:
        """The reason in the log after a handshake that the client saw fail."""

        def expect(talk: Talk) -> None:
            with self.assertRaises((OSError, AssertionError)):
                act(talk)

        await self.talk(expect, **keys)
        return str(self.told(Disconnected).reason)

    async def test_no_version_in_common(self) -> None:
        def act(talk: Talk) -> None:
            talk.limit(ssl.TLSVersion.TLSv1_1)
            talk.begin_tls()

        reason = await self.refused(act)
        self.assertIn("the other side offers no TLS version that is allowed here", reason)

    async def test_a_client_that_does_not_trust_us(self) -> None:
        def act(talk: Talk) -> None:
            talk._trusting = ssl.create_default_context()
            talk.begin_tls()

        reason = await self.refused(act)
        self.assertIn("does not know who issued our certificate", reason)

    async def test_a_client_that_goes(self) -> None:
        def act(talk: Talk) -> None:
            talk.reply()
            talk.ask("EHLO client.example")
            talk.ask("STARTTLS")

        await self.talk(act)
        self.assertEqual(
            "TLS handshake failed: the other side broke off", self.told(Disconnected).reason
        )

    async def test_a_silent_client(self) -> None:
        reason = await self.refused(
            lambda talk: talk.socket.recv(1)[0], tls="implicit", handshake_timeout="0.2s"
        )
        self.assertEqual("TLS handshake failed: it took too long", reason)

    async def test_stopping_does_not_wait_for_it(self) -> None:
        def act(talk: Talk) -> bytes:
            self.addCleanup(talk.close)
            return b""

        self.front = Front(tls="implicit")
        client = await self.front.connect()
        await deferToThread(lambda: Talk(self.front).close())
        await self.front.listener.close()
        await self.front.factory.leave()
        await client.gone

    async def test_tls_max(self) -> None:
        def act(talk: Talk) -> Any:
            talk.begin_tls()
            return talk.socket.version()  # type: ignore[attr-defined]

        self.assertEqual("TLSv1.2", await self.talk(act, tls_max="1.2"))

    async def test_an_old_device(self) -> None:
        def act(talk: Talk) -> Any:
            talk.limit(ssl.TLSVersion.TLSv1)
            talk.begin_tls()
            return talk.socket.version()  # type: ignore[attr-defined]

        self.assertEqual("TLSv1", await self.talk(act, profile="legacy-device"))


class ClientCertificateTests(TlsCase):
    async def grants(self, issued: Issued | None, *patterns: str) -> bool:
        """Whether a client from elsewhere may relay, who shows this certificate."""
        authority = Path(self.mktemp())
        authority.write_bytes(self.clients.pem)

        def act(talk: Talk) -> bytes:
            if issued is not None:
                talk.present(issued, Path(self.mktemp()))
            talk.begin_tls()
            return talk.transact()[-1]

        last = await self.talk(
            act, networks=STRANGER, client_ca=authority, relay_certificates=patterns
        )
        self.assertIn(last[:9], (b"250 2.0.0", b"550 5.7.1"))
        return bool(last[:3] == b"250")

    def setUp(self) -> None:
        self.clients = Authority("Clients")

    async def test_by_a_name_in_it(self) -> None:
        printer = self.clients.issue("hall.printers.example")
        self.assertTrue(await self.grants(printer, "*.printers.example"))
        self.assertEqual("hall.printers.example", self.told(Accepted).origin.certificate)

    async def test_by_a_mail_address_in_it(self) -> None:
        joe = self.clients.issue(emails=["Joe@example.net"])
        self.assertTrue(await self.grants(joe, "*@example.net"))
        self.assertFalse(await self.grants(joe, "*.net"))

    async def test_by_its_common_name_where_there_is_no_other(self) -> None:
        self.assertTrue(await self.grants(self.clients.issue(common_name="Printer"), "printer"))

    async def test_nobody_whom_a_proxy_names(self) -> None:
        """The certificate is the proxy's."""
        authority = Path(self.mktemp())
        authority.write_bytes(self.clients.pem)
        proxy = self.clients.issue("proxy.example")

        def act(talk: Talk) -> list[bytes]:
            talk.present(proxy, Path(self.mktemp()))
            talk.begin_tls()
            replies = [talk.transact()[1], talk.ask("RSET"), talk.ask("XCLIENT ADDR=203.0.113.9")]
            return [*replies, talk.ask("EHLO x"), talk.transact()[1]]

        replies = await self.talk(
            act,
            networks=STRANGER,
            client_ca=authority,
            relay_certificates=("proxy.example",),
            xclient_from=("127.0.0.0/8",),
        )
        codes = [reply[:3] for reply in replies]
        self.assertEqual([b"250", b"250", b"220", b"250", b"550"], codes)

    async def test_nor_whom_it_names_before_tls(self) -> None:
        authority = Path(self.mktemp())
        authority.write_bytes(self.clients.pem)

        def act(talk: Talk) -> bytes:
            talk.present(self.clients.issue("proxy.example"), Path(self.mktemp()))
            talk.reply()
            talk.ask("EHLO x")
            talk.ask("XCLIENT ADDR=203.0.113.9")
            talk.ask("EHLO x")
            talk.ask("STARTTLS")
            talk.shake_hands()
            talk.ask("EHLO x")
            return talk.transact()[1]

        last = await self.talk(
            act,
            networks=STRANGER,
            client_ca=authority,
            relay_certificates=("proxy.example",),
            xclient_from=("127.0.0.0/8",),
        )
        self.assertEqual(b"550", last[:3])

    async def test_through_another_authority_between(self) -> None:
        between = Authority("Between", self.clients)
        self.assertTrue(await self.grants(between.issue("a.example"), "a.example"))

    async def test_what_grants_nothing(self) -> None:
        stranger = Authority("Clients")
        forged = self.clients.issue("a.example", issued_by_key=stranger.key)
        expired = self.clients.issue("a.example", valid_until=-timedelta(hours=1))
        for each in (
            None,
            self.clients.issue("b.example"),
            self.clients.issue("b.example", common_name="a.example"),
            stranger.issue("a.example"),
            self_signed("a.example"),
            forged,
            expired,
        ):
            self.assertFalse(await self.grants(each, "a.example"))
        self.assertFalse(await self.grants(self.clients.issue("a.example")))
