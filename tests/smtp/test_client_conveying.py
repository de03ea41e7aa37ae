"""The client engine tells of a client: XCLIENT before all else, XFORWARD before MAIL."""

from relay.mail.envelope import Envelope, Recipient
from relay.smtp.events import LocalProtocolError
from tests.smtp.test_client import Case

ONE = Envelope("s@x.test", (Recipient(1, "r@x.test"),))
LOCK_STEP = b"250-up\r\n250 XFORWARD NAME ADDR\r\n"
PIPELINED = b"250-up\r\n250-PIPELINING\r\n250 XFORWARD NAME ADDR\r\n"
FORWARDED = ("XFORWARD NAME=a", "XFORWARD ADDR=192.0.2.7")


class Introducing(Case):
    def test_told_then_greeted_anew(self) -> None:
        talk = self.talk().opened(b"250-up\r\n250-SMTPUTF8\r\n250 XCLIENT ADDR\r\n")
        talk.engine.introduce(["XCLIENT HELO=c", "XCLIENT ADDR=192.0.2.7"], "c.example")
        self.assertFalse(talk.engine.is_idle)
        self.assertEqual(b"XCLIENT HELO=c\r\n", talk.says())
        self.assertEqual(["XCLIENT 220"], talk.hears(b"220 up\r\n"))
        self.assertEqual(b"XCLIENT ADDR=192.0.2.7\r\n", talk.says())
        self.assertEqual(["XCLIENT 220"], talk.hears(b"220 up\r\n"))
        self.assertEqual(b"EHLO c.example\r\n", talk.says())
        self.assertEqual(["hello 250"], talk.hears(b"250-up\r\n250 8BITMIME\r\n"))
        self.assertTrue(talk.engine.is_idle)
        self.assertEqual({"8BITMIME"}, set(talk.engine.extensions))
        self.assertEqual(b"MAIL FROM:<s@x.test>\r\n", talk.begins(ONE))

    def test_helo_where_ehlo_is_refused(self) -> None:
        talk = self.talk().opened()
        talk.engine.introduce(["XCLIENT ADDR=192.0.2.7"], "c.example")
        talk.says()
        talk.hears(b"220 up\r\n")
        talk.says()
        talk.hears(b"502 what?\r\n")
        self.assertEqual(b"HELO c.example\r\n", talk.says())
        self.assertEqual(["hello 250"], talk.hears(b"250 up\r\n"))
        self.assertTrue(talk.engine.is_idle)

    def test_refused_it_is_over(self) -> None:
        for refusal in (b"550 5.7.0 no\r\n", b"421 4.7.0 no\r\n", b"451 4.3.0 no\r\n"):
            talk = self.talk().opened()
            talk.engine.introduce(["XCLIENT HELO=c", "XCLIENT ADDR=192.0.2.7"], "c.example")
            talk.says()
            self.assertEqual([f"XCLIENT {refusal[:3].decode()}"], talk.hears(refusal))
            self.assertEqual(b"", talk.says())
            self.assertFalse(talk.engine.is_idle)
            self.assertRaises(LocalProtocolError, talk.engine.begin, ONE, 1)

    def test_greeted_by_helo_nothing_is_offered_any_more(self) -> None:
        talk = self.talk().opened()
        self.assertTrue(talk.engine.offers_pipelining)
        talk.engine.introduce(["XCLIENT ADDR=192.0.2.7"], "c.example")
        talk.says()
        talk.hears(b"220 hi\r\n")
        talk.says()
        talk.hears(b"502 what?\r\n")
        self.assertEqual(b"HELO c.example\r\n", talk.says())
        talk.hears(b"250 hi\r\n")
        self.assertEqual({}, dict(talk.engine.extensions))
        self.assertFalse(talk.engine.offers_pipelining)

    def test_impossible_codes(self) -> None:
        talk = self.talk().opened()
        talk.engine.introduce(["XCLIENT ADDR=192.0.2.7"], "c.example")
        talk.says()
        self.assertTrue(talk.hears(b"354 go on\r\n")[0].startswith("broken"))

    def test_not_in_a_transaction(self) -> None:
        talk = self.talk().opened()
        talk.engine.mail(ONE, 0)
        talk.says()
        talk.hears(b"250 ok\r\n")
        self.assertRaises(LocalProtocolError, talk.engine.introduce, ["XCLIENT ADDR=x"], "c")


class Forwarding(Case):
    def test_pipelined_with_the_envelope(self) -> None:
        talk = self.talk().opened(PIPELINED)
        self.assertEqual(
            b"XFORWARD NAME=a\r\nXFORWARD ADDR=192.0.2.7\r\nMAIL FROM:<s@x.test>\r\n"
            b"RCPT TO:<r@x.test>\r\nDATA\r\n",
            talk.begins(ONE, forwarded=FORWARDED),
        )
        events = talk.hears(b"250 ok\r\n" * 4 + b"354 go on\r\n")
        self.assertEqual(
            ["XFORWARD 250", "XFORWARD 250", "MAIL 250", "RCPT#1 250", "DATA 354"], events
        )

    def test_in_lock_step(self) -> None:
        talk = self.talk().opened(LOCK_STEP)
        self.assertEqual(b"XFORWARD NAME=a\r\n", talk.begins(ONE, forwarded=FORWARDED))
        talk.hears(b"250 ok\r\n")
        self.assertEqual(b"XFORWARD ADDR=192.0.2.7\r\n", talk.says())
        talk.hears(b"250 ok\r\n")
        self.assertEqual(b"MAIL FROM:<s@x.test>\r\n", talk.says())

    def test_refused_the_mail_goes_on(self) -> None:
        for hello in (LOCK_STEP, PIPELINED):
            talk = self.talk().opened(hello)
            said = talk.begins(ONE, forwarded=FORWARDED[:1])
            self.assertEqual("XFORWARD 550", talk.hears(b"550 5.7.0 no\r\n")[0])
            self.assertIn(b"MAIL FROM", said + talk.says())
            self.assertEqual(["MAIL 250"], talk.hears(b"250 ok\r\n"))

    def test_after_the_reset_of_what_was_left(self) -> None:
        talk = self.talk().opened(PIPELINED)
        talk.engine.mail(ONE, 0, FORWARDED[:1])
        self.assertEqual(b"XFORWARD NAME=a\r\nMAIL FROM:<s@x.test>\r\n", talk.says())
        talk.hears(b"250 ok\r\n250 ok\r\n")
        talk.engine.mail(ONE, 0, FORWARDED[:1])
        self.assertEqual(b"RSET\r\nXFORWARD NAME=a\r\nMAIL FROM:<s@x.test>\r\n", talk.says())
        self.assertEqual(["RSET 250", "XFORWARD 250", "MAIL 250"], talk.hears(b"250 ok\r\n" * 3))


class IntroducingOctetByOctet(Introducing):
    step = 1


class ForwardingOctetByOctet(Forwarding):
    step = 1
