"""The server engine: events, order, states, limits. More conversations: tests/dialogues."""

from twisted.trial.unittest import SynchronousTestCase

from relay.mail.reply import reply
from relay.smtp.events import (
    NEED_DATA,
    PAUSED,
    Answered,
    Closed,
    ContentBegin,
    ContentChunk,
    ContentEnd,
    Hello,
    LocalProtocolError,
    Mail,
    Quit,
    Rcpt,
)
from relay.smtp.lines import MAX_SWALLOWED_LINE
from relay.smtp.server import ServerEngine
from tests.smtp.shell import Shell, settings

OK = reply(250, "2.0.0", "Ok")
OPENING = b"EHLO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@example.org>\r\n"


def codes(octets):
    """ "250 2.1.0" of each reply."""
    lines = [line for line in octets.decode().split("\r\n") if line[3:4] == " "]
    return [
        " ".join(line.split(" ")[: 2 if line[4:5].isdigit() and line[5:6] == "." else 1])
        for line in lines
    ]


class EngineTests(SynchronousTestCase):
    def setUp(self):
        self.engine = ServerEngine(settings())

    def greet(self):
        self.engine.reply(self.engine.greeting())

    def next(self, answer=OK):
        event = self.engine.next_event()
        if answer is not None:
            self.engine.reply(answer)
        return event

    def test_greeting_comes_first(self):
        self.engine.receive(b"NOOP\r\n")
        self.assertIs(self.engine.next_event(), PAUSED)
        self.assertEqual(self.engine.buffered, 6)
        self.assertEqual(
            self.engine.reply(self.engine.greeting()), b"220 relay.example.net ESMTP\r\n"
        )
        self.assertIsInstance(self.engine.next_event(), Answered)

    def test_a_refusal_for_a_greeting_closes(self):
        self.engine.reply(reply(554, "5.7.1", "No"))
        self.engine.receive(b"EHLO c\r\n")
        self.assertIs(self.engine.next_event(), NEED_DATA)

    def test_a_transaction(self):
        self.greet()
        self.engine.receive(b"EHLO client.example\r\n")
        self.assertEqual(self.engine.next_event(), Hello("EHLO", "client.example"))
        self.engine.reply(self.engine.hello_reply())
        self.assertEqual((self.engine.helo, self.engine.is_extended), ("client.example", True))
        self.engine.receive(
            b"MAIL FROM:<a@b> SIZE=3 BODY=8BITMIME SMTPUTF8 RET=FULL ENVID=e\r\n"
            b"RCPT TO:<c@d> NOTIFY=NEVER ORCPT=rfc822;c@d\r\nDATA\r\n"
        )
        self.assertFalse(self.engine.in_transaction)
        self.assertEqual(self.next(), Mail("a@b", 3, "8BITMIME", True, "FULL", "e"))
        self.assertTrue(self.engine.in_transaction)
        self.assertEqual(self.next(), Rcpt("c@d", "NEVER", "rfc822;c@d"))
        self.assertEqual(self.next(reply(354, "", "Go")), ContentBegin(False))
        self.assertTrue(self.engine.has_content_pending)
        self.engine.receive(b"hi\r\n.\r\nQUIT\r\n")
        self.assertEqual(self.engine.next_event(), ContentChunk(b"hi\r\n"))
        self.assertEqual(self.engine.next_event(), ContentEnd(4))
        self.assertFalse(self.engine.has_content_pending)
        self.assertIs(self.engine.next_event(), PAUSED)
        self.engine.reply(OK)
        self.assertFalse(self.engine.in_transaction)
        self.assertEqual(self.next(reply(221, "2.0.0", "Bye")), Quit())
        self.assertIn("closed", repr(self.engine))

    def test_paused_until_answered_and_once(self):
        self.greet()
        self.engine.receive(b"EHLO c\r\nNOOP\r\n")
        self.engine.next_event()
        self.assertIs(self.engine.next_event(), PAUSED)
        self.engine.reply(self.engine.hello_reply())
        self.assertRaises(LocalProtocolError, self.engine.reply, OK)
        self.assertRaises(LocalProtocolError, self.engine.hello_reply)

    def test_replies_of_an_impossible_class(self):
        self.greet()
        self.engine.receive(OPENING + b"DATA\r\n")
        self.engine.next_event()
        self.engine.reply(self.engine.hello_reply())
        self.engine.next_event()
        self.assertRaises(LocalProtocolError, self.engine.reply, reply(354, "", "Go"))
        self.engine.reply(OK)
        self.next()
        self.engine.next_event()
        self.assertRaises(LocalProtocolError, self.engine.reply, OK)
        self.engine.reply(reply(354, "", "Go"))

    def test_refusals_of_the_shell_change_nothing(self):
        self.greet()
        self.engine.receive(b"EHLO c\r\n")
        self.next(reply(550, "5.7.1", "No"))
        self.assertEqual(self.engine.helo, "")
        self.engine.receive(b"MAIL FROM:<a@b>\r\n")
        self.assertEqual(self.next(None).reply.code, 503)

    def test_refused_mail_leaves_no_transaction(self):
        shell = Shell(settings(), {Mail: reply(451, "4.3.1", "Later")})
        self.assertEqual(
            codes(shell.say(OPENING + b"DATA\r\nNOOP\r\n")),
            ["250", "451 4.3.1", "503 5.5.1", "503 5.5.1", "250 2.0.0"],
        )
        self.assertEqual(shell.engine.error_count, 0)

    def test_refused_data_leaves_the_transaction(self):
        shell = Shell(settings(), {ContentBegin: reply(451, "4.3.1", "Later")})
        shell.say(OPENING)
        self.assertEqual(codes(shell.say(b"DATA\r\nRCPT TO:<d@example.org>\r\n"))[0], "451 4.3.1")
        self.assertTrue(shell.engine.in_transaction)
        self.assertFalse(shell.engine.has_content_pending)

    def test_421_closes(self):
        shell = Shell(settings(), {Rcpt: reply(421, "4.3.2", "Bye")})
        shell.say(OPENING)
        self.assertEqual(shell.engine.next_event(), NEED_DATA)
        self.assertFalse(shell.engine.in_transaction)
        shell.engine.receive(b"NOOP\r\n")
        self.assertEqual(shell.engine.buffered, 0)

    def test_eof(self):
        self.greet()
        self.engine.receive(b"NOOP\r\nNO")
        self.engine.receive(b"")
        self.assertIsInstance(self.next(), Answered)
        self.assertEqual(self.engine.next_event(), Closed())
        self.assertIs(self.engine.next_event(), NEED_DATA)

    def test_eof_inside_content(self):
        shell = Shell(settings())
        shell.say(OPENING + b"DATA\r\n", b"half a mess", b"")
        self.assertEqual(shell.events[-1], Closed())
        self.assertEqual(shell.contents, [])

    def test_reset_and_hello_end_the_transaction(self):
        for command in (b"RSET\r\n", b"EHLO d\r\n", b"HELO d\r\n"):
            shell = Shell(settings())
            shell.say(OPENING, command)
            self.assertFalse(shell.engine.in_transaction)
            self.assertEqual(codes(shell.say(b"DATA\r\n")), ["503 5.5.1"])

    def test_recipients_are_counted_per_transaction(self):
        shell = Shell(settings(max_recipients=2))
        rcpt = b"RCPT TO:<c@example.org>\r\n"
        sent = codes(
            shell.say(b"EHLO c\r\nMAIL FROM:<>\r\n" + rcpt + b"RCPT TO:<x@y>\r\n" + 2 * rcpt)
        )
        self.assertEqual(sent[2:], ["250 2.1.5", "550 5.7.1", "250 2.1.5", "452 4.5.3"])
        self.assertEqual(codes(shell.say(b"RSET\r\nMAIL FROM:<>\r\n" + rcpt))[-1], "250 2.1.5")


class ContentTests(SynchronousTestCase):
    def test_too_big(self):
        shell = Shell(settings(max_message_size=10))
        shell.say(OPENING + b"DATA\r\n")
        self.assertEqual(codes(shell.say(b"12345678\r\n.\r\n")), ["250 2.0.0"])
        shell.say(OPENING + b"DATA\r\n")
        sent = shell.say(b"123456789\r\n", b"more\r\n", b".\r\nNOOP\r\n")
        self.assertEqual(codes(sent), ["552 5.3.4", "250 2.0.0"])
        self.assertEqual(shell.contents, [b"12345678\r\n"])

    def test_normalised_size_counts(self):
        shell = Shell(settings(max_message_size=10))
        self.assertEqual(
            codes(shell.say(OPENING + b"DATA\r\n" + b"\n" * 6 + b"\r\n.\r\n"))[-1], "552 5.3.4"
        )

    def test_swallowing_is_bounded(self):
        shell = Shell(settings(max_message_size=10, max_swallowed=1000))
        shell.say(OPENING + b"DATA\r\n")
        for _ in range(2000):
            shell.say(b"a\r\n")
        self.assertTrue(shell.is_closed)
        self.assertEqual(shell.events[-1].refusal.code, 552)
        self.assertTrue(shell.events[-1].must_close)

    def test_a_long_tail_behind_the_end_is_not_swallowed(self):
        shell = Shell(settings(max_message_size=10, max_swallowed=1000))
        shell.say(OPENING + b"DATA\r\n")
        shell.say(b"a" * 20 + b"\r\n.\r\n" + b"NOOP\r\n" * 500)
        self.assertFalse(shell.is_closed)

    def test_swallowing_of_chunks_is_bounded(self):
        for opening in (b"", b"EHLO c\r\n", OPENING):
            shell = Shell(settings(max_message_size=10, max_swallowed=1000))
            shell.say(opening + b"BDAT 99999999999999999999\r\n")
            for _ in range(2000):
                shell.say(b"RSET\r\n")
            self.assertTrue(shell.is_closed)
            self.assertIn(shell.sent[-80:].split(b"\r\n")[-2][:3], (b"552", b"503"))

    def test_forbidden_octets_count_for_more_than_size(self):
        for pieces in ([b"12345678901\r\na\rb\r\n.\r\n"], [b"12345678901\r\n", b"a\rb\r\n.\r\n"]):
            shell = Shell(settings(max_message_size=10))
            shell.say(OPENING + b"DATA\r\n")
            self.assertEqual(codes(shell.say(*pieces)), ["550 5.6.11"])
            self.assertTrue(shell.is_closed)

    def test_forbidden_octets_close_after_the_end(self):
        shell = Shell(settings())
        shell.say(OPENING + b"DATA\r\n")
        self.assertEqual(shell.say(b"a\rb\r\n", b"more"), b"")
        self.assertEqual(codes(shell.say(b"\r\n.\r\nMAIL FROM:<a@b>\r\n")), ["550 5.6.11"])
        self.assertTrue(shell.is_closed)
        self.assertIs(shell.engine.next_event(), NEED_DATA)


class ChunkTests(SynchronousTestCase):
    def test_chunks_are_one_content(self):
        shell = Shell(settings())
        sent = shell.say(
            OPENING + b"BDAT 4\r\na\r\n.BDAT 0\r\nBDAT 3\r\n\r\nbBDAT 1 LAST\r\n\nNOOP\r\n"
        )
        self.assertEqual(shell.contents, [b"a\r\n.\r\nb\r\n"])
        self.assertIn(b"250 2.0.0 4 octets received\r\n250 2.0.0 0 octets received\r\n", sent)
        self.assertEqual(codes(sent)[3:], ["250 2.0.0"] * 5)
        begins = [event for event in shell.events if type(event) is ContentBegin]
        self.assertEqual(begins, [ContentBegin(True)])

    def test_refused_by_the_shell(self):
        shell = Shell(settings(), {ContentBegin: reply(452, "4.3.1", "Full")})
        sent = shell.say(OPENING + b"BDAT 6\r\nRSET\r", b"\nBDAT 2\r\n\r\nBDAT 0 LAST\r\nNOOP\r\n")
        self.assertEqual(codes(sent)[3:], ["452 4.3.1"] * 3 + ["250 2.0.0"])
        self.assertFalse(shell.engine.in_transaction)

    def test_reset_between_chunks(self):
        shell = Shell(settings())
        sent = shell.say(
            OPENING + b"BDAT 1\r\naRSET\r\nBDAT 1 LAST\r\nb" + OPENING + b"BDAT 1 LAST\r\nc"
        )
        self.assertEqual(codes(sent)[3:6], ["250 2.0.0", "250 2.0.0", "503 5.5.1"])
        self.assertEqual(shell.contents, [b"c"])

    def test_too_big_is_said_once_its_octets_are_gone(self):
        shell = Shell(settings(max_message_size=10))
        sent = shell.say(OPENING + b"BDAT 8\r\n12345678BDAT 3\r\nDATBDAT 2 LAST\r\n\r\nNOOP\r\n")
        self.assertEqual(codes(sent)[3:], ["250 2.0.0", "552 5.3.4", "552 5.3.4", "250 2.0.0"])
        self.assertEqual(shell.contents, [])
        ends = [event for event in shell.events if type(event) is ContentEnd]
        self.assertEqual(len(ends), 1)

    def test_a_chunk_announced_too_big_does_not_come_out(self):
        shell = Shell(settings(max_message_size=10))
        shell.engine.receive(OPENING + b"BDAT 11 LAST\r\n12345")
        shell.say(b"6")
        self.assertNotIn(ContentChunk, [type(event) for event in shell.events])

    def test_a_cr_at_the_very_end_is_bare(self):
        shell = Shell(settings())
        self.assertEqual(codes(shell.say(OPENING + b"BDAT 2 LAST\r\na\r"))[-1], "550 5.6.11")
        self.assertTrue(shell.is_closed)


class ErrorTests(SynchronousTestCase):
    def test_too_many(self):
        shell = Shell(settings(max_errors=3))
        self.assertEqual(codes(shell.say(b"X\r\n" * 5)), ["500 5.5.1"] * 3 + ["421 4.7.0"])
        self.assertTrue(shell.is_closed)

    def test_commands_that_lead_to_no_message_are_too_many_some_time(self):
        for command in (
            b"NOOP\r\n",
            b"DATA\r\n",
            b"EHLO c\r\n",
            b"MAIL FROM:<a@b> SIZE=99999999\r\n",
        ):
            shell = Shell(settings(max_recipients=100))
            shell.say(b"EHLO c\r\n", command * 900)
            self.assertFalse(shell.is_closed)
            self.assertEqual("421 4.7.0", codes(shell.say(command * 200))[-1])
            self.assertTrue(shell.is_closed)

    def test_a_message_makes_up_for_them_and_chunks_are_none(self):
        shell = Shell(settings(max_recipients=100))
        shell.say(b"NOOP\r\n" * 900, OPENING, b"DATA\r\nx\r\n.\r\n", b"NOOP\r\n" * 900)
        shell.say(OPENING, b"BDAT 1\r\nx" * 900)
        self.assertFalse(shell.is_closed)

    def test_a_chunk_makes_up_for_itself_alone(self):
        shell = Shell(settings(max_recipients=100))
        shell.say(*[OPENING + b"BDAT 1\r\nxRSET\r\n" + b"NOOP\r\n" * 300] * 4)
        self.assertTrue(shell.is_closed)

    def test_chunks_that_nobody_wanted_count(self):
        shell = Shell(settings(max_recipients=100, max_errors=0))
        shell.say(b"EHLO c\r\n", b"BDAT 1\r\nx" * 1100)
        self.assertTrue(shell.is_closed)

    def test_an_endless_line_closes(self):
        for pieces in ([b"x" * 1000] * 100, [b"x" * (MAX_SWALLOWED_LINE + 1) + b"\r\n"]):
            shell = Shell(settings())
            self.assertEqual(codes(shell.say(*pieces)), ["500 5.5.6"])
            self.assertTrue(shell.is_closed)

    def test_alien_openings_close(self):
        for octets in (b"GET / HTTP/1.1\r\n", b"\x16\x03\x01\x02\x00\n", b"\xff\xfe\r\n"):
            shell = Shell(settings())
            shell.say(octets)
            self.assertTrue(shell.is_closed, octets)
