"""Header fields that are added: where they are missing, however the content is cut."""

from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.inbound.missing_headers import MAX_HEADER, HeaderCompletion, usual_fields
from relay.notices import Accepted
from tests.inbound.test_tls import Talk, TlsCase
from tests.properties import given

FIELDS = usual_fields("s@example.net", "relay.example", "ID1", 1763944200.75)
DATE = b"Date: Mon, 24 Nov 2025 00:30:00 +0000\r\n"
ID = b"Message-ID: <ID1@relay.example>\r\n"
FROM = b"From: <s@example.net>\r\n"
ALL = DATE + ID + FROM

FOLDED = b"A: b\r\n\tDate: folded\r\n From: z\r\n"
LONG = b"A: b\r\n" * (MAX_HEADER // 6 - 1)

CASES = [
    (b"Subject: x\r\n\r\ntext\r\n", b"Subject: x\r\n" + ALL + b"\r\ntext\r\n"),
    (b"\r\ntext\r\n", ALL + b"\r\ntext\r\n"),
    (b"", ALL),
    (b"Subject: x\r\n", b"Subject: x\r\n" + ALL),
    (b"just text\r\nand more: of it\r\n", ALL + b"\r\njust text\r\nand more: of it\r\n"),
    (b"To: a\r\ntext\r\n\r\nDate: x\r\n", b"To: a\r\n" + ALL + b"\r\ntext\r\n\r\nDate: x\r\n"),
    (b"date: x\r\nMESSAGE-ID : y\r\nFrom:\r\n\r\n.\r\n", None),
    (b"Date: x\r\nMessage-ID: y\r\nFrom: z\r\nno field\r\n", None),
    (b"DATE: x\r\n\r\nt", b"DATE: x\r\n" + ID + FROM + b"\r\nt"),
    (FOLDED + b"\r\n", FOLDED + ALL + b"\r\n"),
    (b" begins folded\r\n", ALL + b"\r\n begins folded\r\n"),
    (b"Subject: x\r\nTo: y", b"Subject: x\r\n" + ALL + b"To: y"),
    (b"Subject: x\r\n y", ALL + b"Subject: x\r\n y"),
    (b"Subject: x\r\nno", b"Subject: x\r\n" + ALL + b"\r\nno"),
    (b"From x@y Mon\r\n", ALL + b"\r\nFrom x@y Mon\r\n"),
    (b"Date : x\r\nDated: y\r\n\r\n", b"Date : x\r\nDated: y\r\n" + ID + FROM + b"\r\n"),
    (b"A: " + b"x" * MAX_HEADER + b"\r\n\r\n", None),
    (b"x" * MAX_HEADER + b"\r\n", None),
    (LONG + b"\r\n", LONG + ALL + b"\r\n"),
    (LONG + b"A: b\r\n" * 2 + b"\r\n", None),
]  # fmt: skip


def completed(*pieces: bytes) -> bytes:
    completion = HeaderCompletion(FIELDS)
    return b"".join([*map(completion.feed, pieces), completion.finish()])


class CompletionTests(SynchronousTestCase):
    def test_whole(self) -> None:
        for content, wanted in CASES:
            self.assertEqual(content if wanted is None else wanted, completed(content))

    def test_cut_anywhere(self) -> None:
        for content, _ in CASES:
            wanted = completed(content)
            step = 1 if len(content) < 1000 else 997
            for at in (*range(0, len(content), step), len(content) - 1, len(content) - 2):
                self.assertEqual(wanted, completed(content[:at], content[at:]), (content[:40], at))
            if len(content) < 1000:
                octets = [content[at : at + 1] for at in range(len(content))]
                self.assertEqual(wanted, completed(*octets))

    @given(
        st.lists(st.sampled_from([b"\r\n", b"Date:", b" ", b"a", b":", b"A: b\r\n", b"\r\n\r\n"]))
    )
    def test_nothing_is_lost_and_no_cut_matters(self, pieces: list[bytes]) -> None:
        content = b"".join(pieces)
        whole = completed(content)
        self.assertEqual(whole, completed(*pieces))
        kept = iter(whole)
        self.assertTrue(all(octet in kept for octet in content), "in their order")
        self.assertIn(len(whole) - len(content), {0, *_sums(), *(2 + n for n in _sums())})

    def test_what_is_held_is_bounded(self) -> None:
        completion = HeaderCompletion(FIELDS)
        out = [completion.feed(b"A: b\r\n" * 100) for _ in range(200)]
        self.assertEqual(b"A: b\r\n" * 20000, b"".join(out))
        self.assertEqual(b"", completion.finish())

    def test_a_null_reverse_path_is_nobody(self) -> None:
        self.assertNotIn(b"from", usual_fields("", "relay.example", "ID1", 0.0))


def _sums() -> set[int]:
    """Of the lengths of any of the fields."""
    sums = {0}
    for field in (DATE, ID, FROM):
        sums |= {n + len(field) for n in sums}
    return sums


class ListenerTests(TlsCase):
    async def sent(self, content: bytes, **keys: bool) -> bytes:
        def act(talk: Talk) -> bytes:
            talk.begin_tls()
            return talk.transact(content)[-1]

        answer = await self.talk(act, **keys)
        self.assertEqual(b"250", answer[:3])
        (kept,) = await self.front.contents()
        return bytes(kept)

    async def test_added_behind_the_header(self) -> None:
        kept = await self.sent(b"Subject: x\r\n\r\ntext\r\n", add_missing_headers=True)
        accepted = self.told(Accepted)
        self.assertTrue(kept.startswith(b"Received: "))
        self.assertIn(b"\r\nSubject: x\r\nDate: ", kept)
        self.assertTrue(kept.endswith(b"\r\nFrom: <s@example.net>\r\n\r\ntext\r\n"))
        self.assertEqual(f"<{accepted.queue_id}@relay.example>", accepted.message_id)
        self.assertEqual(len(kept), accepted.size)

    async def test_not_where_it_was_not_asked_for(self) -> None:
        kept = await self.sent(b"Subject: x\r\n\r\ntext\r\n")
        self.assertTrue(kept.endswith(b"+0000\r\nSubject: x\r\n\r\ntext\r\n"))
