"""Paths and parameters: what is right, what is wrong and with which reply."""

from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.smtp.grammar import (
    Malformed,
    parse_bdat,
    parse_hello,
    parse_mail,
    parse_rcpt,
    split,
)
from tests.properties import given


class GrammarTestCase(SynchronousTestCase):
    def assertRefused(self, expected, parse, *arguments):
        fault = self.assertRaises(Malformed, parse, *arguments)
        self.assertEqual(f"{fault.reply.code} {fault.reply.status}", expected, arguments)


class PathTests(GrammarTestCase):
    RIGHT = {
        "<a@b>": "a@b",
        "<A.b-c+d=e/f@Ex-ample.ORG>": "A.b-c+d=e/f@Ex-ample.ORG",
        " <a@b.c>": "a@b.c",
        "<@one:a@b>": "a@b",
        "<@one.example,@two:a@b>": "a@b",
        '<"a b"@c>': '"a b"@c',
        '<"ab"@c>': "ab@c",
        '<"a\\b"@c>': "ab@c",
        '<"a\\"b"@c>': '"a\\"b"@c',
        '<"a@b"@c>': '"a@b"@c',
        '<"a>b"@c>': '"a>b"@c',
        '<"..a"@c>': '"..a"@c',
        "<a@[127.0.0.1]>": "a@[127.0.0.1]",
        "<a@[IPv6:::1]>": "a@[IPv6:::1]",
        "<a@my_host.lan>": "a@my_host.lan",
        "<a@xn--bcher-kva.example>": "a@xn--bcher-kva.example",
        f"<{'a' * 252}@b>": f"{'a' * 252}@b",
    }
    WRONG = (
        "<a>", "<a@>", "<@b>", "<a@b", "a@b>", "a b", "<a b@c>", "<.a@b>", "<a.@b>", "<a..b@c>",
        "<a@b..c>", "<a@.b>", "<a@b.>", "<a@-b>", "<a@b->", "<a@b@c>", "<a@b>x", "<<a@b>>",
        '<"a@b>', '<""@b>', '<"a"b@c>', '<"a\\"@b>', "<a@[1.2.3]>", "<a@[1.2.3.4>", "<a@[]>",
        "<a@[::1]>", "<a@[IPv6:zz]>", "<a@[IPv6:fe80::1%eth0]>", "<@one,two:a@b>", "<@:a@b>",
        "  <a@b>", f"<{'a' * 253}@b>", f"<a@{'b' * 64}>", f"<{'a' * 60}@{'b.' * 97}c>", "<a@b c>",
        "<Postmaster@>", "<a\\b@c>", "<a,b@c>", "<a@b>SIZE=1",
    )  # fmt: skip

    def test_right(self):
        for text, path in self.RIGHT.items():
            self.assertEqual(parse_mail(f"FROM:{text}").reverse_path, path)
            self.assertEqual(parse_rcpt(f"to:{text}", False).forward_path, path)

    def test_wrong(self):
        for text in self.WRONG:
            with_brackets = "<" in text
            self.assertRefused(
                "501 5.1.7" if with_brackets else "501 5.5.4", parse_mail, f"FROM:{text}"
            )
            self.assertRefused(
                "501 5.1.3" if with_brackets else "501 5.5.4", parse_rcpt, f"TO:{text}", False
            )

    def test_wrong_ones_of_any_length_are_refused_at_once(self):
        """Backtracking over these, were it possible, would take longer than the universe lasts."""
        for piece in ("a.", "a@b-", '""', "@a-b.", "@a,", "\\a", '"\\a', "-"):
            self.assertRefused("501 5.1.7", parse_mail, f"FROM:<{piece * 500} @b>")
            self.assertRefused("501 5.1.7", parse_mail, f"FROM:<a@{piece * 500}>")

    def test_limits_hold_for_paths_with_routes(self):
        self.assertRefused("501 5.1.7", parse_mail, f"FROM:<@{'r.' * 120}r:abcdefgh@ijklmnop>")

    def test_null_and_postmaster(self):
        self.assertEqual(parse_mail("FROM:<>").reverse_path, "")
        self.assertEqual(parse_rcpt("TO:<PostMaster>", False).forward_path, "postmaster")
        self.assertRefused("501 5.1.3", parse_rcpt, "TO:<>", False)
        self.assertRefused("501 5.1.7", parse_mail, "FROM:<postmaster>")

    def test_other_words(self):
        self.assertRefused("501 5.5.4", parse_mail, "TO:<a@b>")
        self.assertRefused("501 5.5.4", parse_mail, "")
        self.assertRefused("501 5.5.4", parse_rcpt, "FROM:<a@b>", False)

    def test_utf8(self):
        for path in ("\u00fc@example.org", "a@b\u00fccher.example", '"\u00fc b"@c', "\U0001f600@x"):
            self.assertEqual(parse_mail(f"FROM:<{path}> SMTPUTF8").reverse_path, path)
            self.assertEqual(parse_rcpt(f"TO:<{path}>", True).forward_path, path)
            self.assertRefused("553 5.6.7", parse_mail, f"FROM:<{path}>")
            self.assertRefused("553 5.6.7", parse_mail, f"FROM:<{path}> SIZE=1")
            self.assertRefused("553 5.6.7", parse_rcpt, f"TO:<{path}>", False)
        long = "\u00fc" * 127  # characters; the limit counts octets
        self.assertRefused("501 5.1.7", parse_mail, f"FROM:<{long}@b> SMTPUTF8")

    def test_split(self):
        self.assertEqual(split('"a@b"@c.d'), ('"a@b"', "c.d"))
        self.assertEqual(split(""), ("", ""))
        self.assertEqual(split("postmaster"), ("postmaster", ""))

    @given(st.text(st.characters(max_codepoint=0x3000), max_size=60), st.booleans())
    def test_whatever_comes(self, text, smtputf8):
        """A path that came out means the same when it goes in again, and holds no controls."""
        for argument in (f"TO:<{text}>", f"TO:{text}", f"TO:<{text}@example.org>"):
            try:
                path = parse_rcpt(argument, smtputf8).forward_path
            except Malformed:
                continue
            if smtputf8 or argument.isascii():
                self.assertEqual(parse_rcpt(f"TO:<{path}>", smtputf8).forward_path, path)
            self.assertNotIn(">", split(path)[1])

    def test_no_pattern_runs_away(self):
        """Each would take ages with a pattern that can backtrack."""
        for text in ("a-" * 990, "a." * 990, '"' + "\\" * 1990, "<@" + "a," * 990, "<" * 1990):
            self.assertRaises(Malformed, parse_mail, f"FROM:<{text}")
            self.assertRaises(Malformed, parse_mail, f"FROM:<a@{text}!>")
            self.assertRaises(Malformed, parse_rcpt, f"TO:<a@b> ORCPT=rfc822;{text}+", False)


class ParameterTests(GrammarTestCase):
    def test_mail(self):
        mail = parse_mail("FROM:<a@b> size=5  BODY=8bitmime SMTPUTF8 RET=hdrs ENVID=a+20b")
        self.assertEqual(
            (mail.size, mail.body, mail.smtputf8, mail.ret, mail.envid),
            (5, "8BITMIME", True, "HDRS", "a+20b"),
        )

    def test_rcpt(self):
        rcpt = parse_rcpt("TO:<a@b> NOTIFY=success,Delay ORCPT=rfc822;A+2Bb@c", False)
        self.assertEqual((rcpt.notify, rcpt.orcpt), ("SUCCESS,DELAY", "rfc822;A+2Bb@c"))
        rcpt = parse_rcpt("TO:<a@b> ORCPT=utf-8;\u00fc@c", True)
        self.assertEqual(rcpt.orcpt, "utf-8;\u00fc@c")

    def test_mail_refused(self):
        for parameters, expected in {
            "BODY=BINARYMIME": "555 5.5.4",
            "AUTH=<>": "555 5.5.4",
            "FOO": "555 5.5.4",
            "NOTIFY=NEVER": "555 5.5.4",
            "=": "501 5.5.4",
            "SIZE": "501 5.5.4",
            "SIZE=": "501 5.5.4",
            "SIZE=-1": "501 5.5.4",
            "SIZE=1x": "501 5.5.4",
            "SIZE=\u0661": "501 5.5.4",
            f"SIZE={'1' * 21}": "501 5.5.4",
            "SIZE=1 size=1": "501 5.5.4",
            "BODY=9BIT": "501 5.5.4",
            "SMTPUTF8=1": "501 5.5.4",
            "RET=ALL": "501 5.5.4",
            "ENVID": "501 5.5.4",
            "ENVID=a=b": "501 5.5.4",
            "ENVID=a+zz": "501 5.5.4",
            "ENVID=a+0D+0A": "501 5.5.4",
            f"ENVID={'a' * 101}": "501 5.5.4",
        }.items():
            self.assertRefused(expected, parse_mail, f"FROM:<a@b> {parameters}")

    def test_rcpt_refused(self):
        for parameters, expected in {
            "SIZE=1": "555 5.5.4",
            "NOTIFY": "501 5.5.4",
            "NOTIFY=NEVER,DELAY": "501 5.5.4",
            "NOTIFY=DELAY,DELAY": "501 5.5.4",
            "NOTIFY=,": "501 5.5.4",
            "NOTIFY=LATER": "501 5.5.4",
            "ORCPT=a@b": "501 5.5.4",
            "ORCPT=;a@b": "501 5.5.4",
            "ORCPT=rfc822;": "501 5.5.4",
            "ORCPT=rfc822;a+7F": "501 5.5.4",
            f"ORCPT=rfc822;{'a' * 500}": "501 5.5.4",
        }.items():
            self.assertRefused(expected, parse_rcpt, f"TO:<a@b> {parameters}", False)


class OtherTests(GrammarTestCase):
    def test_hello(self):
        self.assertEqual(parse_hello("[1.2.3.4]"), "[1.2.3.4]")
        self.assertRefused("501 5.5.4", parse_hello, "")
        self.assertRefused("501 5.5.4", parse_hello, "a" * 256)

    def test_bdat(self):
        self.assertEqual(parse_bdat("5"), (5, False))
        self.assertEqual(parse_bdat("0 last"), (0, True))
        for text in ("", "x", "-1", "5 FIRST", "5  LAST", "5 LAST x", "\u0661", "1" * 21):
            self.assertRefused("501 5.5.4", parse_bdat, text)
