"""XCLIENT and XFORWARD: what is read, what is refused, what is written."""

import contextlib

from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.mail.envelope import Origin
from relay.smtp.conveying import MAX_LINE, OFFER, Conveyed, parse_xclient
from relay.smtp.events import PAUSED, Answered, Hello, Mail, Xclient
from relay.smtp.grammar import Malformed
from relay.smtp.server import ServerEngine, ServerSettings
from tests.properties import given

LISTED = "NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT REVERSE_NAME"
ORIGIN = Origin("lan", "192.0.2.7:4711", "mail.example", "ann", "S1", "client.example", "ESMTP")

GOOD = {
    "NAME=spike.example.org ADDR=192.0.2.7": {"NAME": "spike.example.org", "ADDR": "192.0.2.7"},
    "name=a.example   Addr=IPv6:2001:DB8:0::7": {"NAME": "a.example", "ADDR": "2001:db8::7"},
    "ADDR=IPV6:::ffff:192.0.2.7": {"ADDR": "::ffff:c000:207"},
    "NAME=[UNAVAILABLE] REVERSE_NAME=[tempunavail]": {"NAME": "", "REVERSE_NAME": ""},
    "ADDR=[Unavailable] PORT=[UNAVAILABLE]": {"ADDR": "", "PORT": ""},
    "PORT=65535 DESTPORT=25 DESTADDR=198.51.100.1": {
        "PORT": "65535",
        "DESTPORT": "25",
        "DESTADDR": "198.51.100.1",
    },
    "PROTO=esmtp": {"PROTO": "ESMTP"},
    "PROTO=SMTP HELO=[192.0.2.7]": {"PROTO": "SMTP", "HELO": "[192.0.2.7]"},
    "HELO=a+2Bb+3Dc": {"HELO": "a+b=c"},
    "LOGIN=ann+40example.org": {"LOGIN": "ann@example.org"},
    "LOGIN=f+C3+BCr": {"LOGIN": "f\u00fcr"},
    "LOGIN=[UNAVAILABLE] HELO=[UNAVAILABLE]": {"LOGIN": "", "HELO": ""},
    "HELO=first HELO=last": {"HELO": "last"},
    f"NAME={'a' * 63}.{'b' * 63}": {"NAME": f"{'a' * 63}.{'b' * 63}"},
    f"HELO={'h' * 255}": {"HELO": "h" * 255},
}

BAD = (
    "",
    "   ",
    "NAME",
    "NAME=a NAME",
    "NAME=",
    "=a",
    "IDENT=a",
    "SOURCE=LOCAL",
    "NAME=a_b..c",
    "NAME=a@b",
    "NAME=a+0Ab",
    "NAME=a+2",
    "NAME=a+2b",
    "NAME=caf\u00e9",
    f"NAME={'a' * 64}",
    f"NAME={'a.' * 128}",
    "ADDR=192.0.2.256",
    "ADDR=192.0.2.7/32",
    "ADDR=[192.0.2.7]",
    "ADDR=2001:db8::7",
    "ADDR=IPV6:192.0.2.7",
    "ADDR=IPV6:fe80::1%eth0",
    "ADDR=client.example",
    "ADDR=[TEMPUNAVAIL]",
    "DESTADDR=x",
    "PORT=65536",
    "PORT=-1",
    "PORT=1e3",
    "PORT=000001",
    "PORT=\u0661",
    "DESTPORT=smtp",
    "PROTO=LMTP",
    "PROTO=ESMTPS",
    "HELO=a+20b",
    "HELO=a+0D+0Ab",
    "HELO=+FF",
    f"HELO={'h' * 256}",
    "LOGIN=a+00",
    "LOGIN=a+C2+85",
    "LOGIN=a+7F",
)


class ParseTests(SynchronousTestCase):
    def test_read(self) -> None:
        for argument, attributes in GOOD.items():
            with self.subTest(argument):
                self.assertEqual(attributes, parse_xclient(argument))

    def test_refused(self) -> None:
        for argument in BAD:
            with self.subTest(argument):
                answer = self.assertRaises(Malformed, parse_xclient, argument).reply
                self.assertEqual((501, "5.5.4"), (answer.code, answer.status))

    @given(st.text(max_size=60))
    def test_whatever_comes(self, argument: str) -> None:
        with contextlib.suppress(Malformed):
            parse_xclient(argument)


class WriteTests(SynchronousTestCase):
    def test_what_is_listed_the_address_last(self) -> None:
        (line,) = Conveyed(ORIGIN).xclient(LISTED)
        self.assertEqual(
            "XCLIENT PROTO=ESMTP HELO=mail.example LOGIN=ann NAME=client.example "
            "REVERSE_NAME=client.example PORT=4711 ADDR=192.0.2.7",
            line,
        )
        self.assertEqual(("XCLIENT ADDR=192.0.2.7",), Conveyed(ORIGIN).xclient("addr future"))
        self.assertEqual((), Conveyed(ORIGIN).xclient(""))

    def test_forwarded(self) -> None:
        (line,) = Conveyed(ORIGIN, "0ABC").xforward("NAME ADDR PORT PROTO HELO IDENT SOURCE")
        self.assertEqual(
            "XFORWARD NAME=client.example ADDR=192.0.2.7 PORT=4711 PROTO=ESMTP HELO=mail.example "
            "IDENT=0ABC SOURCE=REMOTE",
            line,
        )

    def test_mail_made_here(self) -> None:
        (line,) = Conveyed(Origin("", ""), "0ABC").xforward("NAME ADDR HELO IDENT SOURCE")
        self.assertEqual(
            "XFORWARD NAME=[UNAVAILABLE] ADDR=[UNAVAILABLE] HELO=[UNAVAILABLE] IDENT=0ABC "
            "SOURCE=LOCAL",
            line,
        )

    def test_addresses(self) -> None:
        for client, address, port in (
            ("[2001:db8::7]:25", "IPV6:2001:db8::7", "25"),
            ("[fe80::1%eth0]:25", "IPV6:fe80::1", "25"),
            ("192.0.2.7:0", "192.0.2.7", "[UNAVAILABLE]"),
            ("unknown:0", "[UNAVAILABLE]", "[UNAVAILABLE]"),
        ):
            with self.subTest(client):
                (line,) = Conveyed(Origin("lan", client)).xclient("ADDR PORT")
                self.assertEqual(f"XCLIENT PORT={port} ADDR={address}", line)

    def test_no_line_is_too_long(self) -> None:
        origin = Origin("lan", "192.0.2.7:1", "h" * 255, "u" * 255, "", "n" * 255, "SMTP")
        lines = Conveyed(origin).xclient(LISTED)
        self.assertTrue(all(len(line) <= MAX_LINE for line in lines))
        self.assertIn(" ADDR=192.0.2.7", lines[-1])
        self.assertFalse(any(" ADDR=" in line for line in lines[:-1]))

    def test_nothing_can_be_put_in(self) -> None:
        """Neither a second command nor a further attribute."""
        (line,) = Conveyed(Origin("lan", "", "a ADDR=1.2.3.4\r\nRSET=+")).xforward("HELO")
        self.assertEqual("XFORWARD HELO=a+20ADDR+3D1.2.3.4+0D+0ARSET+3D+2B", line)

    @given(st.from_regex(r"[!-~]{1,85}", fullmatch=True), st.integers(1, 65535))
    def test_what_is_written_can_be_read(self, helo: str, port: int) -> None:
        (line,) = Conveyed(Origin("lan", f"[2001:db8::7]:{port}", helo)).xclient("HELO ADDR PORT")
        read = parse_xclient(line.removeprefix("XCLIENT"))
        if helo.upper() not in ("[UNAVAILABLE]",):
            self.assertEqual({"HELO": helo, "ADDR": "2001:db8::7", "PORT": str(port)}, read)


class EngineTests(SynchronousTestCase):
    def engine(self, *, may_introduce: bool = True) -> ServerEngine:
        engine = ServerEngine(ServerSettings("relay.example", 2**20, 100))
        engine.may_introduce = may_introduce
        engine.reply(engine.greeting())
        engine.receive(b"EHLO proxy\r\n")
        self.assertIsInstance(engine.next_event(), Hello)
        self.hello = engine.hello_reply()
        engine.reply(self.hello)
        return engine

    def test_offered_to_those_who_may(self) -> None:
        self.engine()
        self.assertIn(OFFER, self.hello.lines)
        self.engine(may_introduce=False)
        self.assertFalse([line for line in self.hello.lines if line.startswith("XCLIENT")])

    def test_the_session_begins_anew(self) -> None:
        engine = self.engine()
        engine.receive(b"XCLIENT ADDR=192.0.2.7\r\nMAIL FROM:<>\r\nEHLO client\r\n")
        event = engine.next_event()
        self.assertEqual(Xclient({"ADDR": "192.0.2.7"}), event)
        self.assertIs(PAUSED, engine.next_event())
        self.assertEqual(b"220 relay.example ESMTP\r\n", engine.reply(engine.greeting()))
        self.assertEqual(("", False), (engine.helo, engine.is_extended))
        early = engine.next_event()
        assert isinstance(early, Answered)
        self.assertEqual(503, early.reply.code)
        engine.reply(early.reply)
        self.assertIsInstance(engine.next_event(), Hello)

    def test_before_any_hello(self) -> None:
        engine = ServerEngine(ServerSettings("relay.example", 2**20, 100))
        engine.may_introduce = True
        engine.reply(engine.greeting())
        engine.receive(b"XCLIENT ADDR=192.0.2.7\r\n")
        self.assertIsInstance(engine.next_event(), Xclient)

    def test_refused(self) -> None:
        for may_introduce, before, line, code in (
            (False, b"", b"XCLIENT ADDR=192.0.2.7", 550),
            (False, b"", b"XCLIENT nonsense", 550),
            (True, b"", b"XCLIENT", 501),
            (True, b"", b"XCLIENT ADDR", 501),
            (True, b"MAIL FROM:<>\r\n", b"XCLIENT ADDR=192.0.2.7", 503),
        ):
            with self.subTest(line, may_introduce=may_introduce, before=before):
                engine = self.engine(may_introduce=may_introduce)
                if before:
                    engine.receive(before)
                    self.assertIsInstance(engine.next_event(), Mail)
                    engine.reply(self.ok())
                engine.receive(line + b"\r\n")
                event = engine.next_event()
                assert isinstance(event, Answered)
                self.assertEqual(code, event.reply.code)

    def ok(self):  # type: ignore[no-untyped-def]
        from relay.mail.reply import reply

        return reply(250, "2.1.0", "Ok")
