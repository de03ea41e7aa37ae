"""Client engine against server engine: what one says, the other understands, however it is cut."""

from itertools import combinations

from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.mail.envelope import Envelope, Recipient
from relay.mail.reply import Reply, reply
from relay.smtp.client import ClientEngine
from relay.smtp.events import (
    ClientEvent,
    Closed,
    ContentEnd,
    Greeted,
    HelloReplied,
    Mail,
    Rcpt,
    Replied,
    ServerEvent,
)
from relay.smtp.server import ServerSettings
from relay.testing.pair import Cut, EnginePair, in_pieces, whole
from tests.properties import given

KEYWORDS = ("PIPELINING", "SIZE", "8BITMIME", "DSN", "SMTPUTF8", "CHUNKING")
OFFERS = [chosen for n in range(len(KEYWORDS) + 1) for chosen in combinations(KEYWORDS, n)]
FULL = Envelope(
    "a@example.org",
    (
        Recipient(4, "b@example.org", notify="SUCCESS,FAILURE", orcpt="rfc822;b+2B@example.org"),
        Recipient(2, "c@example.org", notify="NEVER"),
    ),
    body="8BITMIME",
    smtputf8=True,
    ret="HDRS",
    envid="QQ314159",
)
CONTENT = b"Subject: hi\r\n\r\n.\r\n..dots\r\n.\r\n\r\nend\r\n"


def told(events: list[ClientEvent]) -> list[tuple[str, int, int | None]]:
    return [(e.command, e.reply.code, e.recipient_id) for e in events if isinstance(e, Replied)]


class Offers(SynchronousTestCase):
    def transact(self, keywords: tuple[str, ...], cut: Cut) -> EnginePair:
        pair = EnginePair(keywords=keywords, cut=cut)
        self.assertEqual([type(event) for event in pair.run()], [Greeted, HelloReplied])
        for _ in range(2):
            last = pair.transact(FULL, [CONTENT[:16], CONTENT[16:]])[-1]
            self.assertEqual(told([last]), [("DOT", 250, None)])
            self.assertTrue(pair.client.is_idle)
        return pair

    def check(self, pair: EnginePair, keywords: tuple[str, ...]) -> None:
        self.assertEqual(len(pair.messages), 2)
        is_dsn = "DSN" in keywords
        mail = Mail(
            reverse_path=FULL.reverse_path,
            size=len(CONTENT) if "SIZE" in keywords else 0,
            body="8BITMIME" if "8BITMIME" in keywords else "",
            smtputf8="SMTPUTF8" in keywords,
            ret="HDRS" if is_dsn else "",
            envid="QQ314159" if is_dsn else "",
        )
        rcpts = [
            Rcpt(r.forward_path, r.notify if is_dsn else "", r.orcpt if is_dsn else "")
            for r in FULL.recipients
        ]
        for message in pair.messages:
            self.assertEqual((message.mail, message.recipients), (mail, rcpts))
            self.assertEqual(message.content, CONTENT)

    def test_all_combinations_whole(self) -> None:
        for keywords in OFFERS:
            self.check(self.transact(keywords, whole), keywords)

    def test_all_combinations_byte_by_byte(self) -> None:
        for keywords in OFFERS:
            self.check(self.transact(keywords, in_pieces(1)), keywords)


class Endings(SynchronousTestCase):
    def test_quit(self) -> None:
        pair = EnginePair()
        pair.run()
        pair.client.quit()
        events = pair.run()
        self.assertEqual(told(events), [("QUIT", 221, None)])
        self.assertIsInstance(events[-1], Closed)

    def test_announced_too_large(self) -> None:
        pair = EnginePair(settings=ServerSettings("s.test", 10, 100), keywords=["SIZE"])
        pair.run()
        self.assertEqual(told(pair.transact(FULL, [CONTENT])), [("MAIL", 552, None)])
        self.assertEqual(told(pair.transact(FULL, [b"short\r\n"]))[-1][:2], ("DOT", 250))

    def test_too_large_all_the_same(self) -> None:
        for keywords in (("PIPELINING",), ()):
            pair = EnginePair(settings=ServerSettings("s.test", 10, 100), keywords=keywords)
            pair.run()
            self.assertEqual(told(pair.transact(FULL, [CONTENT]))[-1], ("DOT", 552, None))
            self.assertEqual(told(pair.transact(FULL, [b"short\r\n"]))[-1], ("DOT", 250, None))
            self.assertEqual([m.content for m in pair.messages], [b"short\r\n"])

    def test_forbidden_octets(self) -> None:
        for keyword, command in (("PIPELINING", "DOT"), ("CHUNKING", "BDAT")):
            pair = EnginePair(keywords=[keyword])
            pair.run()
            events = pair.transact(FULL, [b"a\rb\r\n"])
            self.assertEqual(told(events)[-1], (command, 550, None))
            self.assertIsInstance(events[-1], Closed)
            self.assertEqual(pair.messages, [])

    def test_too_many_recipients(self) -> None:
        pair = EnginePair(settings=ServerSettings("s.test", 1000, 1))
        pair.run()
        self.assertEqual(pair.client.max_recipients, 1)
        codes = {id_: code for _, code, id_ in told(pair.transact(FULL, [CONTENT]))}
        self.assertEqual((codes[4], codes[2]), (250, 452))

    def test_helo_only(self) -> None:
        def policy(event: ServerEvent) -> Reply | None:
            is_ehlo = getattr(event, "verb", "") == "EHLO"
            return reply(502, "5.5.1", "no EHLO") if is_ehlo else None

        pair = EnginePair(policy=policy)
        self.assertEqual([type(event) for event in pair.run()], [Greeted, HelloReplied])
        self.assertEqual(told(pair.transact(FULL, [CONTENT]))[-1], ("DOT", 250, None))


_content = st.lists(
    st.sampled_from([b"\r\n", b"\r\n", b".", b".", b"..", b"a", b"\xff", b"\t", b"word " * 20]),
    max_size=30,
).map(b"".join)
_sizes = st.lists(st.integers(1, 7), min_size=1, max_size=4)
_offers = st.sampled_from(OFFERS)
_verdict = st.sampled_from([250, 250, 250, 450, 550])


class Properties(SynchronousTestCase):
    @given(_content, _sizes, _sizes, _offers)
    def test_content_arrives_as_it_was(
        self, content: bytes, chunks: list[int], cuts: list[int], keywords: tuple[str, ...]
    ) -> None:
        pair = EnginePair(keywords=keywords, cut=in_pieces(*cuts))
        pair.run()
        events = pair.transact(FULL, in_pieces(*chunks)(content))
        self.assertEqual(told(events)[-1], ("DOT", 250, None))
        is_ended = not content or content.endswith(b"\r\n") or "CHUNKING" in keywords
        self.assertEqual(pair.messages[0].content, content if is_ended else content + b"\r\n")

    @given(
        st.lists(
            st.tuples(_verdict, st.lists(_verdict, min_size=1, max_size=4), _verdict),
            min_size=1,
            max_size=4,
        ),
        _sizes,
        _offers,
    )
    def test_every_refusal_reaches_whom_it_concerns(
        self,
        plan: list[tuple[int, list[int], int]],
        cuts: list[int],
        keywords: tuple[str, ...],
    ) -> None:
        """Transactions one after the other; each step answered as planned."""
        verdicts: dict[object, int] = {}

        def policy(event: ServerEvent) -> Reply | None:
            step: object = type(event)
            if isinstance(event, Rcpt):
                step = event.forward_path
            code = verdicts.get(step, 250)
            return reply(code, "", "as planned") if code >= 400 else None

        pair = EnginePair(keywords=keywords, cut=in_pieces(*cuts), policy=policy)
        pair.run()
        for mail, rcpts, end in plan:
            paths = {10 - n: f"r{n}@example.org" for n in range(len(rcpts))}
            verdicts.update(zip(paths.values(), rcpts, strict=True))
            verdicts.update({Mail: mail, ContentEnd: end})
            envelope = Envelope("", tuple(Recipient(n, path) for n, path in paths.items()))
            pair.messages.clear()
            events = told(pair.transact(envelope, [CONTENT]))
            self.assertTrue(pair.client.is_idle, pair.client)
            self.assertIn(("MAIL", mail, None), events)
            if mail == 250:
                answered = {id_: code for command, code, id_ in events if command == "RCPT"}
                self.assertEqual(answered, dict(zip(paths, rcpts, strict=True)))
            is_sent = mail == 250 and 250 in rcpts
            if is_sent:
                self.assertEqual(events[-1], ("DOT", end, None))
            accepted = [
                path for path, code in zip(paths.values(), rcpts, strict=True) if code < 300
            ]
            expected = [accepted] if is_sent and end == 250 else []
            got = [[rcpt.forward_path for rcpt in m.recipients] for m in pair.messages]
            self.assertEqual(got, expected)


class Pieces(SynchronousTestCase):
    def test_cut(self) -> None:
        self.assertEqual(list(in_pieces(1, 3)(b"abcdefg")), [b"a", b"bcd", b"e", b"fg"])
        self.assertEqual(list(in_pieces(1)(b"")), [])

    def test_own_client_and_lmtp_refused(self) -> None:
        """The server engine speaks no LMTP: it says so, and the client gives up."""
        pair = EnginePair(ClientEngine("c.test", is_lmtp=True))
        events = pair.run()
        self.assertEqual([type(event) for event in events], [Greeted, HelloReplied])
        self.assertFalse(pair.client.is_idle)
