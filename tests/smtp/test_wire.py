"""Replies and commands as octets; EHLO keywords."""

from twisted.trial.unittest import SynchronousTestCase

from relay.mail.reply import reply
from relay.smtp.events import LocalProtocolError
from relay.smtp.extensions import MAX_KEYWORDS, offered_keywords, parse_keywords
from relay.smtp.wire import MAX_REPLY_LINE, command_octets, reply_octets


class ReplyTests(SynchronousTestCase):
    def test_one_line(self):
        self.assertEqual(reply_octets(reply(250, "2.0.0", "Ok")), b"250 2.0.0 Ok\r\n")
        self.assertEqual(reply_octets(reply(354, "", "Go on")), b"354 Go on\r\n")
        self.assertEqual(reply_octets(reply(250, "")), b"250 \r\n")

    def test_status_on_every_line(self):
        self.assertEqual(
            reply_octets(reply(550, "5.7.1", "No", "and", "no")),
            b"550-5.7.1 No\r\n550-5.7.1 and\r\n550 5.7.1 no\r\n",
        )

    def test_no_text_begins_a_line(self):
        octets = reply_octets(reply(550, "5.1.1", "a\r\n250 Ok\0\u00fc", "b\n"))
        self.assertEqual(
            octets, b"550-5.1.1 a\\x{D}\\x{A}250 Ok\\x{0}\\x{FC}\r\n550 5.1.1 b\\x{A}\r\n"
        )

    def test_length(self):
        octets = reply_octets(reply(550, "5.1.1", "x" * 1000))
        self.assertEqual(len(octets), MAX_REPLY_LINE)
        self.assertTrue(octets.endswith(b"x\r\n"))


class CommandTests(SynchronousTestCase):
    def test_good(self):
        self.assertEqual(
            command_octets("MAIL FROM:<\u00fc@b>"), "MAIL FROM:<\u00fc@b>\r\n".encode()
        )

    def test_injection(self):
        for text in ("\r", "\n", "\0", "\t", "\x7f", "\x85", "\u2028", "\udc80"):
            self.assertRaises(LocalProtocolError, command_octets, f"RCPT TO:<a{text}RSET@b>")


class KeywordTests(SynchronousTestCase):
    def test_there_and_back(self):
        keywords = parse_keywords(offered_keywords(1000, 7))
        self.assertEqual(keywords["SIZE"], "1000")
        self.assertEqual(keywords["LIMITS"], "RCPTMAX=7")
        self.assertEqual(keywords["PIPELINING"], "")
        self.assertNotIn("BINARYMIME", keywords)

    def test_others(self):
        lines = ("size", "Size 5", "AUTH=LOGIN PLAIN", "X  a  b ", "", " ")
        self.assertEqual(parse_keywords(lines), {"SIZE": "", "AUTH": "LOGIN PLAIN", "X": "a  b"})

    def test_limit(self):
        self.assertEqual(len(parse_keywords(f"X{i}" for i in range(1000))), MAX_KEYWORDS)
