"""The input buffer: lines, octets, limits."""

from twisted.trial.unittest import SynchronousTestCase

from relay.smtp.lines import (
    BEGINNING,
    MAX_COMMAND_LINE,
    MAX_SWALLOWED_LINE,
    InputBuffer,
    LineBare,
    LineEndless,
    LineTooLong,
    command_text,
)


class InputBufferTests(SynchronousTestCase):
    def setUp(self):
        self.buffer = InputBuffer(may_end_bare=True)

    def read_all(self):
        lines = []
        while (line := self.buffer.read_line()) is not None:
            lines.append(line)
        return lines

    def test_lines_whole_and_octet_by_octet(self):
        data = b"one\r\n\r\ntwo\nthree \r\nfo"
        self.buffer.add(data)
        self.assertEqual(self.read_all(), [b"one", b"", b"two", b"three "])
        self.assertEqual(len(self.buffer), 2)
        self.buffer.add(b"ur\r\n")
        self.assertEqual(self.read_all(), [b"four"])
        lines = []
        for octet in data:
            self.buffer.add(bytes([octet]))
            lines += self.read_all()
        self.assertEqual(lines, [b"one", b"", b"two", b"three "])

    def test_octets_put_aside_while_nobody_reads(self):
        for octet in b"one\r\ntwo\r\nrest":
            self.buffer.add(bytes([octet]))
        self.assertEqual(len(self.buffer), 14)
        self.assertEqual(self.buffer.read_line(), b"one")
        self.assertEqual(self.buffer.take(2), b"tw")
        self.assertEqual(self.buffer.read_line(), b"o")
        self.assertEqual(self.buffer.take(), b"rest")
        self.assertEqual(len(self.buffer), 0)

    def test_what_is_put_aside_stays_in_order(self):
        self.buffer.add(b"one\r\ntwo\r\n")
        self.assertEqual(self.buffer.read_line(), b"one")
        self.buffer.add(b"three\r\n")
        self.assertEqual(self.buffer.read_line(), b"two")
        self.buffer.add(b"four\r\n")
        self.assertEqual(self.read_all(), [b"three", b"four"])

    def test_take_and_put_back(self):
        self.buffer.add(b"one\r\ncontent.\r\nNOOP\r\n")
        self.buffer.read_line()
        taken = self.buffer.take()
        self.buffer.put_back(taken[10:])
        self.assertEqual(self.buffer.read_line(), b"NOOP")
        self.buffer.add(b"x")
        self.assertEqual(self.buffer.take(0), b"")
        self.assertEqual(self.buffer.take(5), b"x")
        self.assertEqual(self.buffer.take(5), b"")

    def test_limit(self):
        self.buffer.add(
            b"a" * (MAX_COMMAND_LINE - 2) + b"\r\n" + b"a" * MAX_COMMAND_LINE + b"\r\n!\r\n"
        )
        self.assertEqual(len(self.buffer.read_line()), MAX_COMMAND_LINE - 2)
        self.assertRaises(LineTooLong, self.buffer.read_line)
        self.assertEqual(self.buffer.read_line(), b"!")

    def test_too_long_in_pieces(self):
        for _ in range(10):
            self.buffer.add(b"a" * 1000)
            self.assertIsNone(self.buffer.read_line())
        self.assertLess(len(self.buffer), MAX_COMMAND_LINE)
        self.buffer.add(b"\r\nNOOP\r\n")
        self.assertRaises(LineTooLong, self.buffer.read_line)
        self.assertEqual(self.buffer.read_line(), b"NOOP")

    def test_how_one_that_is_too_long_began(self):
        line = b"BDAT 9 " + b"a" * 3 * MAX_COMMAND_LINE + b"\r\n"
        for size in (1000, len(line)):
            fault = None
            for at in range(0, len(line), size):
                self.buffer.add(line[at : at + size])
                try:
                    self.buffer.read_line()
                except LineTooLong as too_long:
                    fault = too_long
            self.assertEqual(fault.beginning, line[:BEGINNING], size)

    def test_endless(self):
        def feed():
            for _ in range(MAX_SWALLOWED_LINE // 1000 + 2):
                self.buffer.add(b"a" * 1000)
                self.buffer.read_line()

        self.assertRaises(LineEndless, feed)

    def test_bare_lf(self):
        self.buffer = InputBuffer(may_end_bare=False)
        self.buffer.add(b"one\ntwo\r\n")
        fault = self.assertRaises(LineBare, self.buffer.read_line)
        self.assertEqual(fault.beginning, b"one", "and nothing of the next line")
        self.assertEqual(self.buffer.read_line(), b"two")

    def test_text(self):
        self.assertEqual(command_text(b"NOOP \t "), "NOOP")
        self.assertEqual(command_text("MAIL FROM:<\u00fc@b>".encode()), "MAIL FROM:<\u00fc@b>")
        self.assertEqual(command_text(b"EHLO B\xfcro"), "EHLO B?ro")
        for line in (
            b"NO\tOP",
            b"NOOP \0",
            b"NOOP \r!",
            b"MAIL \xff",
            b"EHLO a\x7f",
            b"X \xc2\x85!",
        ):
            self.assertIsNone(command_text(line), line)
