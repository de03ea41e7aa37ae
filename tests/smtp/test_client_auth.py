"""The client engine and AUTH, answered by hand (RFC 4954)."""

from typing import Any

from relay.smtp.events import AuthReplied, LocalProtocolError
from relay.smtp.sasl.client import Login, choose
from tests.smtp.test_client import ONE, Case, Talk

HELLO = b"250-up\r\n250 AUTH PLAIN LOGIN XOAUTH2 SCRAM-SHA-256\r\n"
PASSWORD = Login("tim", "tanstaaf")


class AuthTests(Case):
    def locked(self, **options: Any) -> Talk:
        return self.talk(wants_auth=True, **options).opened(HELLO)

    def asked(self, mechanism: str, login: Login = PASSWORD) -> Talk:
        talk = self.locked()
        exchange = choose(mechanism, login, "nonce")
        assert exchange is not None
        talk.engine.authenticate(exchange)
        return talk

    def test_nothing_goes_before_it(self) -> None:
        talk = self.locked()
        self.assertTrue(talk.engine.needs_auth)
        self.assertFalse(talk.engine.is_idle)
        self.assertRaises(LocalProtocolError, talk.begins, ONE)
        talk.engine.quit()
        self.assertEqual(talk.says(), b"QUIT\r\n")

    def test_let_in(self) -> None:
        talk = self.asked("PLAIN")
        self.assertEqual(talk.says(), b"AUTH PLAIN AHRpbQB0YW5zdGFhZg==\r\n")
        talk.engine.receive(b"235 2.7.0 in\r\n")
        event = talk.engine.next_event()
        assert isinstance(event, AuthReplied)
        self.assertEqual((event.reply.code, event.mechanism), (235, "PLAIN"))
        self.assertTrue(talk.engine.is_idle)
        self.assertFalse(talk.engine.needs_auth)
        self.assertTrue(talk.begins(ONE).startswith(b"MAIL"))

    def test_refused(self) -> None:
        for reply in (b"535 5.7.8 no\r\n", b"454 4.7.0 later\r\n", b"421 bye\r\n"):
            talk = self.asked("PLAIN")
            talk.says()
            self.assertEqual(talk.hears(reply), [f"auth {reply[:3].decode()}"])
            self.assertFalse(talk.engine.is_idle)
            self.assertRaises(LocalProtocolError, talk.begins, ONE)

    def test_login_step_by_step(self) -> None:
        talk = self.asked("LOGIN")
        self.assertEqual(talk.says(), b"AUTH LOGIN\r\n")
        self.assertEqual(talk.hears(b"334 VXNlcm5hbWU6\r\n"), [])
        self.assertEqual(talk.says(), b"dGlt\r\n")
        self.assertEqual(talk.hears(b"334 \r\n"), [])
        self.assertEqual(talk.says(), b"dGFuc3RhYWY=\r\n")
        self.assertEqual(talk.hears(b"235 in\r\n"), ["auth 235"])

    def test_a_long_initial_response_waits_for_a_challenge(self) -> None:
        """A command line has no room for it (RFC 4954 4)."""
        talk = self.asked("XOAUTH2", Login("tim", "t" * 2000, is_token=True))
        self.assertEqual(talk.says(), b"AUTH XOAUTH2\r\n")
        talk.hears(b"334 \r\n")
        self.assertGreater(len(talk.says()), 2600)
        talk.hears(b"334 eyJzdGF0dXMiOiI0MDEifQ==\r\n")
        self.assertEqual(talk.says(), b"\r\n")
        self.assertEqual(talk.hears(b"535 5.7.8 no\r\n"), ["auth 535"])

    def test_a_server_that_does_not_know_the_password_is_not_believed(self) -> None:
        talk = self.asked("SCRAM-SHA-256")
        talk.says()
        [event] = talk.hears(b"235 2.7.0 in\r\n")
        self.assertIn("before it proved that it knows the password", event)

    def test_bad_challenges(self) -> None:
        for reply in (b"334 ???\r\n", b"334-YQ==\r\n334 =\r\n", b"354 go on\r\n", b"334 YQ==\r\n"):
            talk = self.asked("PLAIN")
            talk.says()
            [event] = talk.hears(reply)
            self.assertTrue(event.startswith("broken: "), event)
            self.assertNotIn("tanstaaf", event)
            self.assertNotIn("AHRpbQ", event)

    def test_after_starttls(self) -> None:
        talk = self.talk(wants_auth=True, wants_tls=True).opened(b"250-up\r\n250 STARTTLS\r\n")
        talk.says()
        self.assertFalse(talk.engine.needs_auth)
        talk.hears(b"220 go on\r\n")
        talk.engine.tls_started()
        talk.says()
        talk.hears(HELLO)
        self.assertTrue(talk.engine.needs_auth)

    def test_out_of_turn(self) -> None:
        exchange = choose("PLAIN", PASSWORD, "")
        assert exchange is not None
        talk = self.talk()
        self.assertRaises(LocalProtocolError, talk.engine.authenticate, exchange)
        self.assertRaises(LocalProtocolError, talk.opened(HELLO).engine.authenticate, exchange)


class AuthByteByByte(AuthTests):
    step = 1
