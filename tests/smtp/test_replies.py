"""The reader of replies, against everything a server may send."""

from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.mail.reply import Reply, reply
from relay.smtp.events import RemoteProtocolError
from relay.smtp.replies import MAX_BUFFERED, MAX_LINE, MAX_LINES, MAX_REPLY, ReplyReader
from tests.properties import given

# wire -> the one reply it is
WHOLE: list[tuple[bytes, Reply]] = [
    (b"250 OK\r\n", reply(250, "", "OK")),
    (b"250\r\n", reply(250, "", "")),
    (b"250 \r\n", reply(250, "", "")),
    (b"250 2.1.0 Sender ok\r\n", reply(250, "2.1.0", "Sender ok")),
    (b"250 2.1.0\r\n", reply(250, "2.1.0", "")),
    (b"550 5.7.123 no\r\n", reply(550, "5.7.123", "no")),
    (b"354 go on\r\n", reply(354, "", "go on")),
    (b"200 lowest\r\n", reply(200, "", "lowest")),
    (b"599 highest\r\n", reply(599, "", "highest")),
    # the status must fit the code, else it is text
    (b"550 4.1.1 odd\r\n", reply(550, "", "4.1.1 odd")),
    (b"354 3.1.1 odd\r\n", reply(354, "", "3.1.1 odd")),
    (b"250 2.1.1234 odd\r\n", reply(250, "", "2.1.1234 odd")),
    (b"250 2.1 odd\r\n", reply(250, "", "2.1 odd")),
    (b"250 2.1.0.1 odd\r\n", reply(250, "", "2.1.0.1 odd")),
    (b"250  2.1.0 odd\r\n", reply(250, "", " 2.1.0 odd")),
    # line ends
    (b"250 OK\n", reply(250, "", "OK")),
    (b"250 OK\r\r\n", reply(250, "", "OK")),
    # many lines
    (b"250-a\r\n250-b\r\n250 c\r\n", reply(250, "", "a", "b", "c")),
    (b"250-a\n250-\r\n250\r\n", reply(250, "", "a", "", "")),
    (b"250-2.0.0 a\r\n250 2.0.0 b\r\n", reply(250, "2.0.0", "a", "b")),
    (b"550-no\r\n550 5.1.1 really\r\n", reply(550, "5.1.1", "no", "really")),
    (b"550-5.1.1 no\r\n550 5.7.1 so\r\n", reply(550, "5.1.1", "no", "5.7.1 so")),
    # text
    ("550 5.1.1 héé\r\n".encode(), reply(550, "5.1.1", "héé")),
    (b"550 caf\xe9\r\n", reply(550, "", "caf\ufffd")),
    (b"250 a\0b\x1b[31m\tc\rd\x7f\r\n", reply(250, "", "a\ufffdb\ufffd[31m c d\ufffd")),
    ("250 a\u2028b\u202ec\r\n".encode(), reply(250, "", "a b\ufffdc")),
    (b"250 " + b"x" * (MAX_LINE - 6) + b"\r\n", reply(250, "", "x" * (MAX_LINE - 6))),
]

# wire -> a word of the reason
BROKEN: list[tuple[bytes, str]] = [
    (b"\r\n", "not a reply"),
    (b"hello\r\n", "not a reply"),
    (b"25\r\n", "not a reply"),
    (b"2500 OK\r\n", "not a reply"),
    (b"250OK\r\n", "not a reply"),
    (b"250\tOK\r\n", "not a reply"),
    (b" 250 OK\r\n", "not a reply"),
    (b"-250 OK\r\n", "not a reply"),
    (b"199 OK\r\n", "not a reply"),
    (b"600 OK\r\n", "not a reply"),
    (b"000 OK\r\n", "not a reply"),
    ("\uff12\uff15\uff10 OK\r\n".encode(), "not a reply"),
    (b"\0\0\0\r\n", "not a reply"),
    (b"HTTP/1.1 400 Bad Request\r\n", "not a reply"),
    (b"250-a\r\n251 b\r\n", "goes on with 251"),
    (b"250-a\r\nb\r\n", "not a reply"),
    (b"250 " + b"x" * (MAX_LINE - 5) + b"\r\n", "longer than 2048"),
    (b"250 " + b"x" * MAX_LINE, "longer than 2048"),
    (b"250-a\r\n" * (MAX_LINES + 1), "more than 300 lines"),
    ((b"250-" + b"a" * 2000 + b"\r\n") * 40, "more than 300 lines"),
]


def read_all(data: bytes, step: int = 0) -> tuple[list[Reply], str]:
    """The replies in `data`, fed in pieces of `step`, and the error's reason."""
    reader = ReplyReader()
    replies: list[Reply] = []
    step = step or len(data) or 1
    for start in range(0, len(data), step):
        reader.receive(data[start : start + step])
        try:
            while (one := reader.next_reply()) is not None:
                replies.append(one)
        except RemoteProtocolError as error:
            return replies, str(error)
    return replies, ""


class Whole(SynchronousTestCase):
    def test_read_whole(self) -> None:
        for wire, expected in WHOLE:
            self.assertEqual(read_all(wire), ([expected], ""), wire[:80])

    def test_read_byte_by_byte(self) -> None:
        for wire, expected in WHOLE:
            self.assertEqual(read_all(wire, 1), ([expected], ""), wire[:80])

    def test_trailing_reply_stays(self) -> None:
        for wire, expected in WHOLE:
            reader = ReplyReader()
            reader.receive(wire + b"354 next\r\n4")
            self.assertEqual(reader.next_reply(), expected)
            self.assertEqual(reader.next_reply(), reply(354, "", "next"))
            self.assertIsNone(reader.next_reply())
            self.assertEqual(reader.buffered, 1)

    def test_nothing_before_the_last_octet(self) -> None:
        for wire, _ in WHOLE:
            self.assertEqual(read_all(wire[:-1]), ([], ""), wire[:80])


class Broken(SynchronousTestCase):
    def test_reason_whole_and_byte_by_byte(self) -> None:
        for wire, word in BROKEN:
            for step in (0, 1):
                replies, reason = read_all(wire, step)
                self.assertEqual(replies, [])
                self.assertIn(word, reason)
                self.assertTrue(reason.isprintable() and len(reason) < 300, reason)

    def test_replies_before_the_trouble_are_read(self) -> None:
        for wire, word in BROKEN:
            replies, reason = read_all(b"250 OK\r\n" + wire)
            self.assertEqual(replies, [reply(250, "", "OK")])
            self.assertIn(word, reason)

    def test_stays_broken(self) -> None:
        for wire, _ in BROKEN:
            reader = ReplyReader()
            reader.receive(wire)
            self.assertRaises(RemoteProtocolError, reader.next_reply)
            reader.receive(b"250 OK\r\n")
            self.assertRaises(RemoteProtocolError, reader.next_reply)

    def test_flood_is_bounded(self) -> None:
        reader = ReplyReader()
        for _ in range(2 * MAX_BUFFERED // 1000):
            reader.receive(b"250 OK\r\n" * 125)
            self.assertLessEqual(reader.buffered, MAX_BUFFERED)
        self.assertRaises(RemoteProtocolError, reader.next_reply)

    def test_endless_line_is_bounded(self) -> None:
        reader = ReplyReader()
        for _ in range(200):
            reader.receive(b"2" * 1000)
        self.assertRaises(RemoteProtocolError, reader.next_reply)

    def test_longest_reply(self) -> None:
        line = b"250-" + b"a" * 1018 + b"\r\n"
        replies, reason = read_all(line * (MAX_REPLY // 1024 - 1) + b"250 end\r\n")
        self.assertEqual((len(replies), reason), (1, ""))
        replies, reason = read_all(b"250-a\r\n" * (MAX_LINES - 1) + b"250 end\r\n")
        self.assertEqual(([len(r.lines) for r in replies], reason), ([MAX_LINES], ""))


_wires = st.lists(
    st.one_of(
        st.sampled_from([wire for wire, _ in WHOLE if len(wire) < 200]),
        st.sampled_from([wire for wire, _ in BROKEN if len(wire) < 200]),
        st.binary(max_size=12),
    ),
    max_size=6,
).map(b"".join)


class Properties(SynchronousTestCase):
    @given(_wires, st.integers(1, 9))
    def test_any_split_reads_the_same(self, wire: bytes, step: int) -> None:
        self.assertEqual(read_all(wire, step), read_all(wire))

    @given(st.lists(st.binary(max_size=40), max_size=20))
    def test_whatever_comes_is_a_reply_or_the_one_error(self, pieces: list[bytes]) -> None:
        reader = ReplyReader()
        for piece in pieces:
            reader.receive(piece)
            try:
                while (one := reader.next_reply()) is not None:
                    self.assertTrue(200 <= one.code <= 599)
                    self.assertTrue(all(line.isprintable() for line in one.lines))
                    self.assertTrue(not one.status or one.status[0] == str(one.code)[0])
            except RemoteProtocolError:
                return
