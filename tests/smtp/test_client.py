"""The client engine, answered by hand: what goes out, what is reported, what is refused."""

from typing import Any

from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.mail.envelope import Envelope, Recipient
from relay.smtp.client import MAX_FAULT, ClientEngine
from relay.smtp.events import (
    NEED_DATA,
    AuthReplied,
    ClientEvent,
    Closed,
    Greeted,
    HelloReplied,
    LocalProtocolError,
    RemoteProtocolError,
    Replied,
    StartTlsReplied,
    Unsolicited,
)
from tests.properties import given, settings

ONE = Envelope("a@x", (Recipient(7, "b@y"),))
TWO = Envelope("a@x", (Recipient(7, "b@y"), Recipient(3, "c@y")))
ALL = (
    b"250-up\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n"
    b"250-DSN\r\n250-CHUNKING\r\n250 LIMITS MAILMAX=5 RCPTMAX=100 FOO\r\n"
)
PIPELINING = b"250-up\r\n250 PIPELINING\r\n"
BARE = b"250 up\r\n"
MAIL, RCPT, DATA = b"MAIL FROM:<a@x>\r\n", b"RCPT TO:<b@y>\r\n", b"DATA\r\n"
RCPT2 = b"RCPT TO:<c@y>\r\n"


def told(event: ClientEvent) -> str:
    """An event in few words."""
    if isinstance(event, Closed):
        return "closed"
    names = {
        Greeted: "greeted",
        HelloReplied: "hello",
        StartTlsReplied: "starttls",
        AuthReplied: "auth",
        Unsolicited: "unsolicited",
    }
    name = names.get(type(event))
    if isinstance(event, Replied):
        name = event.command + ("" if event.recipient_id is None else f"#{event.recipient_id}")
    return f"{name} {event.reply.code}"


class Talk:
    """An engine and the server's side of its connection."""

    def __init__(self, step: int = 0, **options: Any) -> None:
        self.engine = ClientEngine("me.example", **options)
        self.step = step

    def hears(self, octets: bytes) -> list[str]:
        """Feed octets in pieces of `step`; the events in few words."""
        step = self.step or len(octets) or 1
        events: list[str] = []
        for start in range(0, len(octets), step) or [0]:
            self.engine.receive(octets[start : start + step])
            events += self.events()
            if events and events[-1].startswith("broken"):
                break
        return events

    def events(self) -> list[str]:
        events: list[str] = []
        try:
            while (event := self.engine.next_event()) is not NEED_DATA:
                events.append(told(event))
        except RemoteProtocolError as error:
            events.append(f"broken: {error}")
        return events

    def says(self) -> bytes:
        return self.engine.data_to_send()

    def opened(self, hello: bytes = PIPELINING) -> "Talk":
        """After greeting and EHLO."""
        self.hears(b"220 up\r\n")
        self.says()
        self.hears(hello)
        return self

    def begins(self, envelope: Envelope, size: int = 0, **options: Any) -> bytes:
        self.engine.begin(envelope, size, **options)
        return self.says()


class Case(SynchronousTestCase):
    step = 0

    def talk(self, **options: Any) -> Talk:
        return Talk(self.step, **options)


class Opening(Case):
    def test_ehlo_goes_out_after_the_greeting(self) -> None:
        talk = self.talk()
        self.assertEqual(talk.says(), b"")
        self.assertEqual(talk.hears(b"220-hi\r\n220 there\r\n"), ["greeted 220"])
        self.assertEqual(talk.says(), b"EHLO me.example\r\n")
        self.assertFalse(talk.engine.is_idle)
        self.assertEqual(talk.hears(ALL), ["hello 250"])
        self.assertTrue(talk.engine.is_idle)
        self.assertEqual(talk.says(), b"")

    def test_what_is_offered(self) -> None:
        engine = self.talk().opened(ALL).engine
        offers = (
            engine.offers_pipelining,
            engine.offers_8bitmime,
            engine.offers_smtputf8,
            engine.offers_dsn,
            engine.offers_chunking,
            engine.offers_size,
        )
        self.assertEqual(offers, (True,) * 6)
        limits = (engine.max_size, engine.max_recipients, engine.max_transactions)
        self.assertEqual(limits, (1000, 100, 5))
        self.assertEqual(engine.extensions["LIMITS"], "MAILMAX=5 RCPTMAX=100 FOO")

    def test_the_first_line_offers_nothing(self) -> None:
        engine = self.talk().opened(b"250-PIPELINING\r\n250-size 5\r\n250 Dsn\r\n").engine
        self.assertEqual(dict(engine.extensions), {"SIZE": "5", "DSN": ""})

    def test_nonsense_numbers_count_as_none(self) -> None:
        for size in (b"", b"x", b"-1", b"9" * 5000, b"1.5", "\u0663".encode()):
            hello = b"250-up\r\n250-SIZE " + size[:1900] + b"\r\n250 LIMITS RCPTMAX=x =1\r\n"
            engine = self.talk().opened(hello).engine
            self.assertEqual((engine.max_size, engine.max_recipients), (0, 0))
            self.assertTrue(engine.offers_size)

    def test_ignored_keywords(self) -> None:
        ignored = frozenset({"pipelining", "SIZE"})
        engine = self.talk(ignored_keywords=ignored).opened(ALL).engine
        self.assertEqual((engine.offers_pipelining, engine.offers_size), (False, False))
        self.assertNotIn("PIPELINING", engine.extensions)

    def test_helo_after_ehlo_was_refused(self) -> None:
        talk = self.talk()
        talk.hears(b"220 up\r\n")
        talk.says()
        self.assertEqual(talk.hears(b"502 5.5.1 what?\r\n"), [])
        self.assertEqual(talk.says(), b"HELO me.example\r\n")
        self.assertEqual(talk.hears(b"250-up\r\n250 PIPELINING\r\n"), ["hello 250"])
        self.assertTrue(talk.engine.is_idle)
        self.assertFalse(talk.engine.offers_pipelining)

    def test_helo_refused_too(self) -> None:
        talk = self.talk().opened(b"550 no\r\n")
        self.assertEqual(talk.hears(b"550 no\r\n"), ["hello 550"])
        self.assertFalse(talk.engine.is_idle)

    def test_ehlo_put_off_is_no_case_for_helo(self) -> None:
        for reply in (b"450 later\r\n", b"421 later\r\n"):
            talk = self.talk()
            talk.hears(b"220 up\r\n")
            talk.says()
            self.assertEqual(talk.hears(reply), [f"hello {reply[:3].decode()}"])
            self.assertFalse(talk.engine.is_idle)
            talk.engine.quit()
            self.assertEqual(talk.says(), b"QUIT\r\n")

    def test_lmtp(self) -> None:
        talk = self.talk(is_lmtp=True)
        talk.hears(b"220 up\r\n")
        self.assertEqual(talk.says(), b"LHLO me.example\r\n")
        self.assertEqual(talk.hears(b"500 no LMTP here\r\n"), ["hello 500"])
        self.assertEqual((talk.says(), talk.engine.is_idle), (b"", False))

    def test_greeting_refuses(self) -> None:
        for reply in (b"554 5.7.1 no\r\n", b"421 4.3.2 busy\r\n", b"450 later\r\n"):
            talk = self.talk()
            self.assertEqual(talk.hears(reply), [f"greeted {reply[:3].decode()}"])
            self.assertEqual((talk.says(), talk.engine.is_idle), (b"", False))
            talk.engine.quit()
            self.assertEqual(talk.says(), b"QUIT\r\n")
            self.assertEqual(talk.hears(b"221 bye\r\n"), ["QUIT 221"])

    def test_greeting_that_is_none(self) -> None:
        for octets in (b"354 go\r\n", b"HTTP/1.1 400 no\r\n", b"\x16\x03\x01\n", b"* OK IMAP\r\n"):
            talk = self.talk()
            [event] = talk.hears(octets)[:1]
            self.assertIn("broken", event)
            self.assertEqual(talk.says(), b"")

    def test_eof(self) -> None:
        talk = self.talk()
        self.assertEqual(talk.hears(b""), ["closed"])
        self.assertEqual(talk.events(), [])
        talk = self.talk().opened()
        self.assertEqual(talk.hears(b"421 4.4.2 idle\r\n2"), ["unsolicited 421"])
        self.assertEqual(talk.hears(b""), ["closed"])
        self.assertFalse(talk.engine.is_idle)

    def test_hello_name_cannot_smuggle(self) -> None:
        engine = ClientEngine("me\r\nMAIL FROM:<x>")
        engine.receive(b"220 up\r\n")
        self.assertRaises(LocalProtocolError, engine.next_event)


class Pipelined(Case):
    def test_one_transaction(self) -> None:
        talk = self.talk().opened()
        self.assertEqual(talk.begins(TWO), MAIL + RCPT + RCPT2 + DATA)
        events = talk.hears(b"250 ok\r\n250 ok\r\n550 5.1.1 no\r\n354 go\r\n")
        self.assertEqual(events, ["MAIL 250", "RCPT#7 250", "RCPT#3 550", "DATA 354"])
        self.assertTrue(talk.engine.is_ready_for_content)
        wire = talk.engine.send_content(b".a\r\n.") + talk.engine.send_content(b"\r\nb\r\n")
        wire += talk.engine.end_content()
        self.assertEqual(wire, b"..a\r\n..\r\nb\r\n.\r\n")
        self.assertFalse(talk.engine.is_ready_for_content or talk.engine.is_idle)
        self.assertEqual(talk.hears(b"250 2.0.0 queued\r\n"), ["DOT 250"])
        self.assertTrue(talk.engine.is_idle)
        self.assertEqual(talk.begins(ONE), MAIL + RCPT + DATA)

    def test_content_lacking_its_last_line_end(self) -> None:
        talk = self.talk().opened()
        for content, end in ((b"", b".\r\n"), (b"a", b"\r\n.\r\n"), (b"a\r\n", b".\r\n")):
            talk.begins(ONE)
            talk.hears(b"250 ok\r\n250 ok\r\n354 go\r\n")
            talk.engine.send_content(content)
            self.assertEqual(talk.engine.end_content(), end)
            talk.hears(b"250 ok\r\n")

    def test_content_begins_a_line_whatever_came_before(self) -> None:
        talk = self.talk().opened()
        for content, wire in ((b"a", b"a"), (b".b", b"..b"), (b".", b"..")):
            talk.begins(ONE)
            talk.hears(b"250 ok\r\n250 ok\r\n354 go\r\n")
            self.assertEqual(talk.engine.send_content(content), wire)
            talk.engine.end_content()
            talk.hears(b"250 ok\r\n")

    def test_reset_refused(self) -> None:
        """The recipient accepted then would be one of the transaction before."""
        talk = self.talk().opened()
        talk.begins(ONE)
        talk.hears(b"250 ok\r\n550 no\r\n554 no\r\n")
        talk.begins(ONE)
        [event] = talk.hears(b"502 no\r\n503 nested\r\n250 ok\r\n354 go\r\n")
        self.assertIn("RSET was refused: 502 no", event)
        self.assertFalse(talk.engine.is_ready_for_content)

    def test_reset_answered_421(self) -> None:
        talk = self.talk().opened()
        talk.engine.reset()
        self.assertEqual(talk.hears(b"421 bye\r\n"), ["RSET 421"])
        self.assertFalse(talk.engine.is_idle)

    def test_mail_refused(self) -> None:
        talk = self.talk().opened()
        talk.begins(TWO)
        events = talk.hears(b"550 no\r\n503 no\r\n503 no\r\n503 no\r\n")
        self.assertEqual(events, ["MAIL 550", "RCPT#7 503", "RCPT#3 503", "DATA 503"])
        self.assertTrue(talk.engine.is_idle)
        self.assertEqual(talk.begins(ONE), MAIL + RCPT + DATA)  # nothing to reset

    def test_mail_refused_but_content_wanted(self) -> None:
        for rcpt in (b"503 no\r\n", b"250 sloppy\r\n"):
            talk = self.talk().opened()
            talk.begins(ONE)
            events = talk.hears(b"450 no\r\n" + rcpt + b"354 go\r\n")
            self.assertEqual(events[-1], "DATA 354")
            self.assertFalse(talk.engine.is_ready_for_content)
            self.assertEqual(talk.says(), b".\r\n")
            self.assertEqual(talk.hears(b"554 no valid recipients\r\n"), ["DOT 554"])
            self.assertEqual(talk.begins(ONE), MAIL + RCPT + DATA)

    def test_no_recipient_but_content_wanted(self) -> None:
        talk = self.talk().opened()
        talk.begins(TWO)
        talk.hears(b"250 ok\r\n550 no\r\n450 no\r\n354 go\r\n")
        self.assertEqual(talk.says(), b".\r\n")
        self.assertRaises(LocalProtocolError, talk.engine.send_content, b"a")
        self.assertEqual(talk.hears(b"250 an empty mail to nobody\r\n"), ["DOT 250"])
        self.assertEqual(talk.begins(ONE), MAIL + RCPT + DATA)

    def test_no_recipient_and_data_refused_leaves_it_open(self) -> None:
        talk = self.talk().opened()
        talk.begins(ONE)
        events = talk.hears(b"250 ok\r\n550 no\r\n554 no\r\n")
        self.assertEqual(events, ["MAIL 250", "RCPT#7 550", "DATA 554"])
        self.assertEqual(talk.begins(ONE), b"RSET\r\n" + MAIL + RCPT + DATA)
        events = talk.hears(b"250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n")
        self.assertEqual(events, ["RSET 250", "MAIL 250", "RCPT#7 250", "DATA 354"])
        talk.engine.end_content()
        talk.hears(b"250 ok\r\n")
        self.assertEqual(talk.begins(ONE), MAIL + RCPT + DATA)

    def test_data_refused_leaves_it_open(self) -> None:
        talk = self.talk().opened()
        talk.begins(ONE)
        talk.hears(b"250 ok\r\n250 ok\r\n451 later\r\n")
        self.assertTrue(talk.engine.is_idle)
        self.assertFalse(talk.engine.is_ready_for_content)
        self.assertEqual(talk.begins(ONE), b"RSET\r\n" + MAIL + RCPT + DATA)

    def test_final_dot_refused(self) -> None:
        for code in (b"451", b"554"):
            talk = self.talk().opened()
            talk.begins(ONE)
            talk.hears(b"250 ok\r\n250 ok\r\n354 go\r\n")
            talk.engine.end_content()
            self.assertEqual(talk.hears(code + b" no\r\n"), [f"DOT {code.decode()}"])
            self.assertEqual(talk.begins(ONE), MAIL + RCPT + DATA)


class LockStep(Case):
    def test_one_transaction(self) -> None:
        talk = self.talk().opened(BARE)
        self.assertEqual(talk.begins(TWO), MAIL)
        self.assertEqual((talk.hears(b"250 ok\r\n"), talk.says()), (["MAIL 250"], RCPT))
        self.assertEqual((talk.hears(b"550 no\r\n"), talk.says()), (["RCPT#7 550"], RCPT2))
        self.assertEqual((talk.hears(b"250 ok\r\n"), talk.says()), (["RCPT#3 250"], DATA))
        self.assertEqual((talk.hears(b"354 go\r\n"), talk.says()), (["DATA 354"], b""))
        talk.engine.end_content()
        self.assertEqual(talk.hears(b"250 ok\r\n"), ["DOT 250"])
        self.assertEqual(talk.begins(ONE), MAIL)

    def test_mail_refused_ends_it(self) -> None:
        talk = self.talk().opened(BARE)
        talk.begins(ONE)
        self.assertEqual((talk.hears(b"550 no\r\n"), talk.says()), (["MAIL 550"], b""))
        self.assertEqual(talk.begins(ONE), MAIL)

    def test_no_recipient_leaves_it_open(self) -> None:
        talk = self.talk().opened(BARE)
        talk.begins(ONE)
        talk.hears(b"250 ok\r\n")
        talk.says()
        self.assertEqual((talk.hears(b"550 no\r\n"), talk.says()), (["RCPT#7 550"], b""))
        self.assertTrue(talk.engine.is_idle)
        self.assertEqual(talk.begins(ONE), b"RSET\r\n")
        self.assertEqual((talk.hears(b"250 ok\r\n"), talk.says()), (["RSET 250"], MAIL))

    def test_421_ends_it(self) -> None:
        for before, command in ((b"", "MAIL"), (b"250 ok\r\n", "RCPT#7")):
            talk = self.talk().opened(BARE)
            talk.begins(TWO)
            talk.hears(before)
            talk.says()
            events = talk.hears(b"421 enough\r\n")
            self.assertEqual((events, talk.says()), ([f"{command} 421"], b""))
        self.assertFalse(talk.engine.is_idle)
        talk.engine.quit()
        self.assertEqual(talk.says(), b"QUIT\r\n")


class Parameters(Case):
    FULL = Envelope(
        "a@x",
        (Recipient(1, "b@y", notify="NEVER", orcpt="rfc822;b@y"), Recipient(2, "c@y")),
        body="8BITMIME",
        smtputf8=True,
        ret="HDRS",
        envid="QQ+2B",
    )

    def test_all_that_is_offered(self) -> None:
        wire = self.talk().opened(ALL).begins(self.FULL, 99)
        self.assertEqual(
            wire,
            b"MAIL FROM:<a@x> SIZE=99 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=QQ+2B\r\n"
            b"RCPT TO:<b@y> NOTIFY=NEVER ORCPT=rfc822;b@y\r\nRCPT TO:<c@y>\r\nDATA\r\n",
        )

    def test_nothing_that_is_not(self) -> None:
        wire = self.talk().opened(PIPELINING).begins(self.FULL, 99)
        self.assertEqual(wire, MAIL + RCPT + RCPT2 + DATA)

    def test_nothing_that_was_not_asked_for(self) -> None:
        self.assertEqual(self.talk().opened(ALL).begins(TWO), MAIL + RCPT + RCPT2 + DATA)

    def test_each_extension_alone(self) -> None:
        expected = {
            b"SIZE": b" SIZE=99",
            b"8BITMIME": b" BODY=8BITMIME",
            b"SMTPUTF8": b" SMTPUTF8",
            b"DSN": b" RET=HDRS ENVID=QQ+2B",
        }
        for keyword, parameters in expected.items():
            wire = self.talk().opened(b"250-up\r\n250 " + keyword + b"\r\n").begins(self.FULL, 99)
            self.assertEqual(wire, b"MAIL FROM:<a@x>" + parameters + b"\r\n")

    def test_paths_beyond_ascii_need_smtputf8(self) -> None:
        path = "\u00e4@x"
        for envelope in (
            Envelope(path, (Recipient(1, "b@y"),), smtputf8=True),
            Envelope("", (Recipient(1, path),), smtputf8=True),
        ):
            wire = self.talk().opened(ALL).begins(envelope)
            self.assertIn(path.encode(), wire)
            talk = self.talk().opened()
            self.assertRaises(LocalProtocolError, talk.engine.begin, envelope, 0)
            self.assertTrue(talk.engine.is_idle)
            plain = Envelope(envelope.reverse_path, envelope.recipients)
            talk = self.talk().opened(ALL)
            self.assertRaises(LocalProtocolError, talk.engine.begin, plain, 0)

    def test_no_path_can_begin_a_line(self) -> None:
        talk = self.talk().opened(ALL)
        for bad in ("a\r\nRSET", "a\n", "a\r", "a\0"):
            for envelope in (
                Envelope(bad, ONE.recipients),
                Envelope("", (Recipient(1, bad),)),
                Envelope("", (Recipient(1, "b@y", orcpt=bad),)),
            ):
                self.assertRaises(LocalProtocolError, talk.engine.begin, envelope, 0)
        self.assertEqual(talk.begins(ONE), MAIL + RCPT + DATA)


class Chunked(Case):
    def test_one_transaction(self) -> None:
        talk = self.talk().opened(ALL)
        self.assertEqual(talk.begins(TWO, is_chunked=True), MAIL + RCPT + RCPT2)
        talk.hears(b"250 ok\r\n250 ok\r\n")
        self.assertFalse(talk.engine.is_ready_for_content)
        talk.hears(b"550 no\r\n")
        self.assertTrue(talk.engine.is_ready_for_content)
        self.assertEqual(talk.engine.send_content(b"\r\n.\r\n"), b"BDAT 5\r\n\r\n.\r\n")
        self.assertEqual(talk.engine.send_content(b""), b"")
        self.assertEqual(talk.engine.send_content(b"a"), b"BDAT 1\r\na")
        self.assertEqual(talk.engine.end_content(), b"BDAT 0 LAST\r\n")
        events = talk.hears(b"250 5\r\n250 1\r\n250 queued\r\n")
        self.assertEqual(events, ["BDAT 250", "BDAT 250", "DOT 250"])
        self.assertEqual(talk.begins(ONE), MAIL + RCPT + DATA)

    def test_lock_step_chunks(self) -> None:
        talk = self.talk().opened(b"250-up\r\n250 CHUNKING\r\n")
        self.assertEqual(talk.begins(ONE, is_chunked=True), MAIL)
        talk.hears(b"250 ok\r\n")
        self.assertEqual(talk.says(), RCPT)
        talk.hears(b"250 ok\r\n")
        self.assertEqual(talk.says(), b"")
        talk.engine.send_content(b"a")
        self.assertFalse(talk.engine.is_ready_for_content)
        self.assertRaises(LocalProtocolError, talk.engine.send_content, b"b")
        self.assertRaises(LocalProtocolError, talk.engine.end_content)
        talk.hears(b"250 ok\r\n")
        self.assertTrue(talk.engine.is_ready_for_content)

    def test_chunk_refused(self) -> None:
        talk = self.talk().opened(ALL)
        talk.begins(ONE, is_chunked=True)
        talk.hears(b"250 ok\r\n250 ok\r\n")
        talk.engine.send_content(b"a")
        talk.engine.send_content(b"b")
        self.assertRaises(LocalProtocolError, talk.engine.reset)
        self.assertEqual(talk.hears(b"452 full\r\n"), ["BDAT 452"])
        self.assertFalse(talk.engine.is_ready_for_content or talk.engine.is_idle)
        self.assertEqual(talk.hears(b"503 no\r\n"), ["BDAT 503"])
        self.assertEqual(talk.begins(ONE), b"RSET\r\n" + MAIL + RCPT + DATA)

    def test_chunk_refused_after_the_last_went_out(self) -> None:
        talk = self.talk().opened(ALL)
        talk.begins(ONE, is_chunked=True)
        talk.hears(b"250 ok\r\n250 ok\r\n")
        talk.engine.send_content(b"a")
        talk.engine.end_content()
        self.assertEqual(talk.hears(b"552 no\r\n503 no\r\n"), ["BDAT 552", "DOT 503"])
        self.assertTrue(talk.engine.is_idle)

    def test_accepted_after_a_refused_chunk_is_impossible(self) -> None:
        talk = self.talk().opened(ALL)
        talk.begins(ONE, is_chunked=True)
        talk.hears(b"250 ok\r\n250 ok\r\n")
        talk.engine.send_content(b"a")
        talk.engine.end_content()
        self.assertIn("impossible", talk.hears(b"552 no\r\n250 ok\r\n")[1])

    def test_no_recipient(self) -> None:
        talk = self.talk().opened(ALL)
        talk.begins(ONE, is_chunked=True)
        talk.hears(b"250 ok\r\n550 no\r\n")
        self.assertTrue(talk.engine.is_idle)
        self.assertFalse(talk.engine.is_ready_for_content)
        self.assertEqual(talk.begins(ONE, is_chunked=True), b"RSET\r\n" + MAIL + RCPT)

    def test_given_up_between_chunks(self) -> None:
        talk = self.talk().opened(ALL)
        talk.begins(ONE, is_chunked=True)
        talk.hears(b"250 ok\r\n250 ok\r\n")
        talk.engine.reset()
        self.assertEqual((talk.says(), talk.hears(b"250 ok\r\n")), (b"RSET\r\n", ["RSET 250"]))
        self.assertEqual(talk.begins(ONE), MAIL + RCPT + DATA)

    def test_needs_chunking(self) -> None:
        talk = self.talk().opened()
        self.assertRaises(LocalProtocolError, talk.engine.begin, ONE, 0, is_chunked=True)


class Lmtp(Case):
    def test_a_reply_for_each_accepted_recipient(self) -> None:
        three = Envelope("", (*TWO.recipients, Recipient(9, "d@y")))
        for is_chunked in (False, True):
            talk = self.talk(is_lmtp=True).opened(ALL)
            talk.begins(three, is_chunked=is_chunked)
            talk.hears(b"250 ok\r\n250 ok\r\n550 no\r\n250 ok\r\n")
            if not is_chunked:
                talk.hears(b"354 go\r\n")
            talk.engine.end_content()
            self.assertEqual(talk.hears(b"450 full\r\n"), ["DOT#7 450"])
            self.assertFalse(talk.engine.is_idle)
            self.assertEqual(talk.hears(b"250 ok\r\n"), ["DOT#9 250"])
            self.assertTrue(talk.engine.is_idle)
            talk.begins(ONE)
            talk.hears(b"250 ok\r\n250 ok\r\n354 go\r\n")
            talk.engine.end_content()
            self.assertEqual(talk.hears(b"250 ok\r\n"), ["DOT#7 250"])
            self.assertTrue(talk.engine.is_idle)

    def test_421_for_one_recipient(self) -> None:
        talk = self.talk(is_lmtp=True).opened()
        talk.begins(TWO)
        talk.hears(b"250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n")
        talk.engine.end_content()
        self.assertEqual(talk.hears(b"421 a\r\n250 b\r\n"), ["DOT#7 421", "DOT#3 250"])
        self.assertFalse(talk.engine.is_idle)

    def test_content_wanted_for_nobody(self) -> None:
        talk = self.talk(is_lmtp=True).opened()
        talk.begins(ONE)
        self.assertIn("impossible", talk.hears(b"250 ok\r\n550 no\r\n354 go\r\n")[2])
        self.assertEqual(talk.says(), b"")


class OutOfTurn(Case):
    def test_impossible_codes(self) -> None:
        accepted = b"250 ok\r\n250 ok\r\n354 go\r\n"
        for before, octets, command in (
            (b"", b"354 go\r\n", "MAIL"),
            (b"250 ok\r\n", b"354 go\r\n", "RCPT"),
            (b"250 ok\r\n250 ok\r\n", b"250 ok\r\n", "DATA"),
            (accepted, b"354 go\r\n", "DOT"),
        ):
            talk = self.talk().opened()
            talk.begins(ONE)
            talk.hears(before)
            if before == accepted:
                talk.engine.end_content()
            [event] = talk.hears(octets)[:1]
            self.assertIn(f"an impossible code in answer to {command}", event)
            self.assertFalse(talk.engine.is_idle)
            self.assertEqual(talk.hears(b"250 ok\r\n")[0], event)  # for ever
            self.assertEqual(talk.says(), b"")

    def test_text_of_the_error_is_bounded(self) -> None:
        talk = self.talk().opened()
        talk.begins(ONE)
        [event] = talk.hears(b"354-" + b"x" * 1000 + b"\r\n354 go\r\n")[:1]
        self.assertLess(len(event), MAX_FAULT + 20)

    def test_reply_before_the_command_in_lock_step(self) -> None:
        talk = Talk()
        talk.opened(BARE)
        talk.begins(ONE)
        first, second = talk.hears(b"250 ok\r\n250 guessed\r\n")
        self.assertEqual(first, "MAIL 250")
        self.assertIn("a reply began before RCPT", second)

    def test_greeting_and_more(self) -> None:
        first, second = Talk().hears(b"220 up\r\n250 up\r\n")
        self.assertEqual(first, "greeted 220")
        self.assertIn("a reply began before EHLO", second)

    def test_reply_begun_before_the_final_dot_cannot_confirm_it(self) -> None:
        for early in (b"2", b"250 o", b"250-ok\r\n"):
            talk = self.talk().opened()
            talk.begins(ONE)
            talk.hears(b"250 ok\r\n250 ok\r\n354 go\r\n" + early)
            talk.engine.send_content(b"a\r\n")
            talk.engine.end_content()
            [event] = talk.events()
            self.assertIn("a reply began before DOT", event)

    def test_unsolicited_replies(self) -> None:
        talk = self.talk().opened()
        self.assertEqual(
            talk.hears(b"250 hm\r\n421 bye\r\n"), ["unsolicited 250", "unsolicited 421"]
        )
        self.assertFalse(talk.engine.is_idle)
        talk = self.talk().opened()
        talk.begins(ONE)
        talk.hears(b"250 ok\r\n250 ok\r\n354 go\r\n")
        self.assertEqual(talk.hears(b"421 full\r\n"), ["unsolicited 421"])

    def test_begun_reply_is_not_idle(self) -> None:
        talk = self.talk().opened()
        talk.hears(b"42")
        self.assertFalse(talk.engine.is_idle)
        self.assertRaises(LocalProtocolError, talk.engine.begin, ONE, 0)

    def test_our_own_requests_out_of_turn(self) -> None:
        talk = self.talk()
        engine = talk.engine
        for request in (engine.reset, engine.quit, engine.end_content):
            self.assertRaises(LocalProtocolError, request)
        self.assertRaises(LocalProtocolError, engine.begin, ONE, 0)
        talk.opened()
        self.assertRaises(LocalProtocolError, engine.begin, Envelope("", ()), 0)
        self.assertRaises(LocalProtocolError, engine.send_content, b"a")
        self.assertEqual(talk.begins(ONE), MAIL + RCPT + DATA)
        for request in (engine.reset, engine.quit, engine.end_content):
            self.assertRaises(LocalProtocolError, request)
        self.assertRaises(LocalProtocolError, engine.begin, ONE, 0)
        talk.hears(b"250 ok\r\n250 ok\r\n354 go\r\n")
        for request in (engine.reset, engine.quit):
            self.assertRaises(LocalProtocolError, request)
        self.assertEqual(talk.says(), b"")

    def test_reset_and_quit(self) -> None:
        talk = self.talk().opened()
        talk.engine.reset()
        self.assertEqual((talk.says(), talk.hears(b"250 ok\r\n")), (b"RSET\r\n", ["RSET 250"]))
        self.assertTrue(talk.engine.is_idle)
        talk.engine.quit()
        self.assertFalse(talk.engine.is_idle)
        self.assertEqual((talk.says(), talk.hears(b"221 bye\r\n")), (b"QUIT\r\n", ["QUIT 221"]))
        self.assertFalse(talk.engine.is_idle)
        self.assertEqual(talk.hears(b""), ["closed"])


class Repr(SynchronousTestCase):
    def test_tells_the_state(self) -> None:
        talk = Talk()
        self.assertEqual(
            repr(talk.engine), "<ClientEngine opening, server connected, awaits greeting>"
        )
        talk.opened()
        self.assertEqual(repr(talk.engine), "<ClientEngine idle, server ready>")
        talk.begins(TWO)
        self.assertEqual(
            repr(talk.engine), "<ClientEngine busy, server ready, awaits MAIL RCPT RCPT ...>"
        )
        talk.hears(b"250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n")
        self.assertEqual(repr(talk.engine), "<ClientEngine ready for content, server content>")
        talk.hears(b"421 bye\r\n")
        talk.hears(b"")
        self.assertIn("server content, spent, EOF", repr(talk.engine))


def byte_by_byte(case: type[Case]) -> type[Case]:
    return type(f"{case.__name__}ByteByByte", (case,), {"step": 1, "__module__": __name__})


OpeningByteByByte = byte_by_byte(Opening)
PipelinedByteByByte = byte_by_byte(Pipelined)
LockStepByteByByte = byte_by_byte(LockStep)
ChunkedByteByByte = byte_by_byte(Chunked)
LmtpByteByByte = byte_by_byte(Lmtp)
OutOfTurnByteByByte = byte_by_byte(OutOfTurn)


_codes = st.sampled_from([250, 250, 250, 220, 354, 354, 421, 450, 452, 550, 554, 503])
_reply = st.one_of(
    _codes.map(lambda code: b"%d ok\r\n" % code),
    _codes.map(lambda code: b"%d-PIPELINING\r\n%d CHUNKING\r\n" % (code, code)),
)
_octets = st.one_of(_reply, _reply, _reply, st.binary(max_size=10), st.just(b""))


class Properties(SynchronousTestCase):
    @settings(max_examples=200)
    @given(st.lists(_octets, max_size=12), st.booleans(), st.booleans())
    def test_one_error_escapes_whatever_comes(
        self, pieces: list[bytes], is_lmtp: bool, is_chunked: bool
    ) -> None:
        talk = Talk(is_lmtp=is_lmtp)
        talk.hears(b"220 up\r\n")
        engine = talk.engine
        for piece in pieces:
            talk.hears(piece)
            if engine.is_idle:
                engine.begin(TWO, 9, is_chunked=is_chunked and engine.offers_chunking)
            elif engine.is_ready_for_content:
                engine.send_content(b"a\r\n")
                if engine.is_ready_for_content:
                    engine.end_content()
            talk.says()
            repr(engine)

    @given(st.lists(_codes, min_size=4, max_size=4), st.integers(1, 9), st.booleans())
    def test_any_split_tells_the_same(
        self, codes: list[int], step: int, is_pipelined: bool
    ) -> None:
        def told_in(step: int) -> list[object]:
            talk = Talk(step)
            talk.opened(PIPELINING if is_pipelined else BARE)
            seen: list[object] = [talk.begins(TWO)]
            replies = [b"%d-x\r\n%d ok\r\n" % (code, code) for code in codes]
            for piece in [b"".join(replies)] if is_pipelined else replies:
                seen += [*talk.hears(piece), talk.says()]
            return [*seen, repr(talk.engine)]

        self.assertEqual(told_in(step), told_in(0))
