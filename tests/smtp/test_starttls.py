"""STARTTLS in the server engine: what is offered when, and that nothing crosses from plaintext."""

from twisted.trial.unittest import SynchronousTestCase

from relay.mail.reply import reply
from relay.smtp.events import (
    NEED_DATA,
    Answered,
    Hello,
    LocalProtocolError,
    RemoteProtocolError,
    StartTls,
)
from relay.smtp.server import ServerEngine
from tests.smtp.shell import ANSWERS, Shell, settings

NOT_NOW = reply(454, "4.7.0", "TLS not available now")
OFFERING = settings(offers_starttls=True)


class StartTlsTests(SynchronousTestCase):
    def ready(self) -> ServerEngine:
        engine = ServerEngine(OFFERING)
        engine.reply(engine.greeting())
        engine.receive(b"EHLO c\r\n")
        self.assertIsInstance(engine.next_event(), Hello)
        engine.reply(engine.hello_reply())
        return engine

    def started(self) -> ServerEngine:
        engine = self.ready()
        engine.receive(b"STARTTLS\r\n")
        self.assertIsInstance(engine.next_event(), StartTls)
        engine.reply(ANSWERS[StartTls])
        return engine

    def test_it_begins_anew(self) -> None:
        engine = self.started()
        engine.tls_started()
        self.assertTrue(engine.is_encrypted)
        self.assertEqual(("", False), (engine.helo, engine.is_extended))
        engine.receive(b"MAIL FROM:<a@b>\r\n")
        self.assertEqual(503, engine.next_event().reply.code)

    def test_what_follows_in_one_segment_is_not_obeyed(self) -> None:
        for behind in (b"R", b"RSET\r\n", b"EHLO c\r\nMAIL FROM:<a@b>\r\n", b"\r\n", b"\n"):
            engine = self.ready()
            engine.receive(b"STARTTLS\r\n" + behind)
            event = engine.next_event()
            self.assertIsInstance(event, Answered)
            self.assertEqual((554, True), (event.reply.code, event.must_close))
            engine.reply(event.reply)
            self.assertIs(engine.next_event(), NEED_DATA)
            self.assertEqual(0, engine.buffered)
            self.assertFalse(engine.is_encrypted)

    def test_what_follows_before_the_handshake_is_not_obeyed(self) -> None:
        engine = self.started()
        engine.receive(b"EHLO c\r\n")
        self.assertIs(engine.next_event(), NEED_DATA)
        self.assertRaises(RemoteProtocolError, engine.tls_started)
        self.assertFalse(engine.is_encrypted)
        engine.receive(b"EHLO c\r\n")
        self.assertIs(engine.next_event(), NEED_DATA)

    def test_a_refusal_changes_nothing(self) -> None:
        engine = self.ready()
        engine.receive(b"STARTTLS\r\n")
        engine.next_event()
        engine.reply(NOT_NOW)
        self.assertRaises(LocalProtocolError, engine.tls_started)
        engine.receive(b"MAIL FROM:<a@b>\r\n")
        self.assertEqual("a@b", engine.next_event().reverse_path)

    def test_out_of_turn(self) -> None:
        self.assertRaises(LocalProtocolError, self.ready().tls_started)

    def test_encrypted_from_the_first_octet(self) -> None:
        engine = ServerEngine(settings(requires_tls=True), is_encrypted=True)
        self.assertTrue(engine.is_encrypted)
        engine.reply(engine.greeting())
        engine.receive(b"EHLO c\r\nMAIL FROM:<a@b>\r\n")
        engine.next_event()
        self.assertNotIn("STARTTLS", engine.hello_reply().lines)
        engine.reply(engine.hello_reply())
        self.assertEqual("a@b", engine.next_event().reverse_path)

    def test_errors_are_not_forgotten(self) -> None:
        """Else each STARTTLS, refused or not, would buy more of them."""
        shell = Shell(settings(offers_starttls=True, max_errors=3))
        shell.say(b"X\r\nX\r\nX\r\nEHLO c\r\n")
        shell.say(b"STARTTLS\r\n")
        self.assertIn(b"421 4.7.0", shell.say(b"X\r\n"))
