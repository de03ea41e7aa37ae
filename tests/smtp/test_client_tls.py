"""The client engine and STARTTLS, answered by hand (RFC 3207)."""

from relay.smtp.events import LocalProtocolError
from tests.smtp.test_client import ALL, ONE, PIPELINING, Case, Talk

OFFER = b"250-up\r\n250-CHUNKING\r\n250 STARTTLS\r\n"
EHLO, STARTTLS = b"EHLO me.example\r\n", b"STARTTLS\r\n"


class StartTls(Case):
    def asked(self, **options: object) -> Talk:
        """After STARTTLS was sent."""
        talk = self.talk(wants_tls=True, **options)
        talk.hears(b"220 up\r\n")
        talk.says()
        self.assertEqual(talk.hears(OFFER), ["hello 250"])
        self.assertEqual(talk.says(), STARTTLS)
        self.assertTrue(talk.engine.is_starting_tls)
        self.assertFalse(talk.engine.is_idle)
        return talk

    def assert_plain(self, talk: Talk) -> None:
        """A transaction may begin, and nothing more is said of TLS."""
        self.assertFalse(talk.engine.is_starting_tls)
        self.assertTrue(talk.engine.is_idle)
        self.assertEqual(talk.says(), b"")
        self.assertTrue(talk.begins(ONE).startswith(b"MAIL FROM:<a@x>\r\n"))

    def test_all_begins_anew_under_tls(self) -> None:
        talk = self.asked()
        self.assertEqual(talk.hears(b"220 go on\r\n"), ["starttls 220"])
        self.assertTrue(talk.engine.is_starting_tls)
        self.assertEqual(talk.says(), b"")
        talk.engine.tls_started()
        self.assertFalse(talk.engine.offers_chunking)
        self.assertEqual(talk.says(), EHLO)
        self.assertEqual(talk.hears(PIPELINING), ["hello 250"])
        self.assertFalse(talk.engine.offers_chunking)
        self.assert_plain(talk)

    def test_lmtp(self) -> None:
        talk = self.asked(is_lmtp=True)
        talk.hears(b"220 go on\r\n")
        talk.engine.tls_started()
        self.assertEqual(talk.says(), b"LHLO me.example\r\n")

    def test_offered_again_under_tls(self) -> None:
        talk = self.asked()
        talk.hears(b"220 go on\r\n")
        talk.engine.tls_started()
        talk.says()
        talk.hears(OFFER)
        self.assert_plain(talk)

    def test_not_offered(self) -> None:
        self.assert_plain(self.talk(wants_tls=True).opened(ALL))

    def test_offered_only_after_xclient(self) -> None:
        """The session is somebody's by then: TLS cannot begin any more."""
        talk = self.talk(wants_tls=True).opened(PIPELINING)
        talk.engine.introduce(["XCLIENT NAME=x"], "me.example")
        talk.hears(b"220 up\r\n")
        self.assertIn(EHLO, talk.says())
        talk.hears(OFFER)
        self.assert_plain(talk)

    def test_offered_and_not_wanted(self) -> None:
        self.assert_plain(self.talk().opened(OFFER))

    def test_ignored(self) -> None:
        options = {"wants_tls": True, "ignored_keywords": frozenset({"starttls"})}
        self.assert_plain(self.talk(**options).opened(OFFER))

    def test_ehlo_refused(self) -> None:
        talk = self.talk(wants_tls=True).opened(b"502 what\r\n")
        self.assertEqual(talk.says(), b"HELO me.example\r\n")
        talk.hears(b"250 up\r\n")
        self.assert_plain(talk)

    def test_refused(self) -> None:
        for reply in (b"454 4.7.0 not now\r\n", b"501 what\r\n", b"502 no\r\n"):
            talk = self.asked()
            self.assertEqual(talk.hears(reply), [f"starttls {reply[:3].decode()}"])
            self.assert_plain(talk)

    def test_421(self) -> None:
        talk = self.asked()
        self.assertEqual(talk.hears(b"421 bye\r\n"), ["starttls 421"])
        self.assertFalse(talk.engine.is_idle)

    def test_impossible(self) -> None:
        [event] = self.asked().hears(b"354 go on\r\n")
        self.assertIn("an impossible code in answer to STARTTLS", event)

    def test_quit_instead_of_the_handshake(self) -> None:
        talk = self.asked()
        talk.hears(b"220 go on\r\n")
        self.assertRaises(LocalProtocolError, talk.engine.quit)
        self.assertRaises(LocalProtocolError, talk.begins, ONE)

    def test_started_out_of_turn(self) -> None:
        talk = self.asked()
        self.assertRaises(LocalProtocolError, talk.engine.tls_started)
        talk.hears(b"454 no\r\n")
        self.assertRaises(LocalProtocolError, talk.engine.tls_started)


class Injection(Case):
    """Plain text behind the 220 must not be read as if it came under TLS."""

    def hears(self, octets: bytes) -> list[str]:
        talk = self.talk(wants_tls=True)
        talk.hears(b"220 up\r\n")
        talk.hears(OFFER)
        talk.says()
        events = talk.hears(octets)
        if not events[-1].startswith("broken"):
            talk.engine.tls_started()
            events += talk.events()
        self.assertFalse(talk.engine.is_idle)
        return events

    def test_each(self) -> None:
        for injected in (b"250 up\r\n", b"250-", b"2", b"\r\n", b"\n", b"250-up\r\n250 DSN\r\n"):
            events = self.hears(b"220 go on\r\n" + injected)
            self.assertTrue(events[-1].startswith("broken"), (injected, events))

    def test_in_one_piece_no_handshake_begins(self) -> None:
        if not self.step:
            [event] = self.hears(b"220 go on\r\n250 up\r\n")
            self.assertIn("plain text came behind its answer to STARTTLS", event)


class StartTlsBytewise(StartTls):
    step = 1


class InjectionBytewise(Injection):
    """Here it comes after the 220 was taken, yet before TLS."""

    step = 1
