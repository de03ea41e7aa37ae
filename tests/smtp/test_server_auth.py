"""AUTH in the server engine: where it may be used, what its events show. More: tests/dialogues."""

from twisted.trial.unittest import SynchronousTestCase

from relay.mail.reply import reply
from relay.smtp.events import PAUSED, Answered, Auth, AuthResponse
from relay.smtp.sasl.commands import challenge
from relay.smtp.server import ServerEngine
from tests.smtp.shell import Shell, settings

SUCCEEDED = reply(235, "2.7.0", "Succeeded")
FAILED = reply(535, "5.7.8", "Failed")


class AuthTests(SynchronousTestCase):
    def engine(self, is_encrypted: bool = True, **keys: object) -> ServerEngine:
        engine = ServerEngine(settings(**{"auth": "offered", **keys}), is_encrypted=is_encrypted)
        engine.reply(engine.greeting())
        engine.receive(b"EHLO c\r\n")
        engine.next_event()
        self.hello = engine.reply(engine.hello_reply())
        return engine

    def test_where_it_is_offered(self) -> None:
        for is_encrypted, without_tls, is_offered in (
            (True, False, True),
            (True, True, True),
            (False, True, True),
            (False, False, False),
        ):
            engine = self.engine(is_encrypted, auth_without_tls=without_tls)
            self.assertEqual(b"AUTH PLAIN LOGIN SCRAM-SHA-256\r\n" in self.hello, is_offered)
            engine.receive(b"AUTH PLAIN\r\n")
            event = engine.next_event()
            self.assertIsInstance(event, Auth if is_offered else Answered)
        self.engine(auth="none")
        self.assertNotIn(b"AUTH", self.hello)

    def test_an_exchange(self) -> None:
        engine = self.engine()
        engine.receive(b"AUTH LOGIN\r\nYQ==\r\n\r\nNOOP\r\n")
        self.assertEqual(engine.next_event(), Auth("LOGIN", None))
        self.assertIs(engine.next_event(), PAUSED)
        self.assertEqual(engine.reply(challenge(b"?")), b"334 Pw==\r\n")
        self.assertFalse(engine.has_content_pending)
        self.assertEqual(engine.next_event(), AuthResponse(b"a"))
        engine.reply(challenge(b""))
        self.assertEqual(engine.next_event(), AuthResponse(b""))
        self.assertFalse(engine.is_authenticated)
        engine.reply(SUCCEEDED)
        self.assertTrue(engine.is_authenticated)
        self.assertIsInstance(engine.next_event(), Answered)

    def test_a_failed_one_authenticates_nobody(self) -> None:
        engine = self.engine()
        engine.receive(b"AUTH PLAIN\r\nAGEAYg==\r\n")
        engine.next_event()
        engine.reply(challenge(b""))
        engine.next_event()
        engine.reply(FAILED)
        self.assertFalse(engine.is_authenticated)
        engine.receive(b"AUTH PLAIN =\r\n")
        self.assertEqual(engine.next_event(), Auth("PLAIN", b""))

    def test_only_what_is_offered(self) -> None:
        engine = self.engine(mechanisms=("PLAIN",), auth="none")
        self.assertIn(b"AUTH PLAIN\r\n", self.hello)
        engine.receive(b"AUTH LOGIN\r\n")
        self.assertEqual(engine.next_event().reply.code, 504)

    def test_events_hide_what_they_hold(self) -> None:
        for event in (Auth("PLAIN", b"\0tim\0secret"), AuthResponse(b"secret")):
            self.assertNotIn("secret", repr(event))

    def test_a_reply_that_cannot_be(self) -> None:
        from relay.smtp.events import LocalProtocolError

        engine = self.engine()
        engine.receive(b"AUTH PLAIN\r\n")
        engine.next_event()
        self.assertRaises(LocalProtocolError, engine.reply, reply(101, "", "x"))

    def test_the_end_of_the_session_within_an_exchange(self) -> None:
        shell = Shell(settings(auth="offered", auth_without_tls=True))
        shell.say(b"EHLO c\r\nAUTH PLAIN\r\nAHVz", b"")
        self.assertTrue(shell.is_closed)
        self.assertFalse(shell.engine.is_authenticated)
