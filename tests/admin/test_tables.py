"""Tables on a terminal: whatever its width, nothing is cut short."""

import io
import re
import sys

from twisted.trial.unittest import SynchronousTestCase

from relay.admin import tables

REPLY = "451 4.4.1 " + "words " * 20
ROW = ("0PU8KJ000000G", "1s", "517", "root@relay.example.net", "a@example.org", REPLY)
COLUMNS = ("ID", ">AGE", ">SIZE", "FROM", "TO", "LAST REPLY")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class TerminalTests(SynchronousTestCase):
    def shown(self, width: int) -> list[str]:
        terminal = Terminal()
        self.patch(sys, "stdout", terminal)
        self.patch(tables, "_terminal_width", lambda: width)
        tables.show_table(COLUMNS, [ROW])
        return re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue()).splitlines()

    def test_the_last_column_is_folded_and_the_others_are_whole(self) -> None:
        lines = self.shown(93)
        self.assertLessEqual(max(map(len, lines)), 93)
        (row,) = [line for line in lines if "0PU8KJ000000G" in line]
        self.assertIn("root@relay.example.net   a@example.org", row)
        self.assertEqual("".join(lines).count("words"), 20)

    def test_a_narrow_terminal_gets_lines_that_run_on(self) -> None:
        heading, row = self.shown(80)
        self.assertEqual(heading.split(), ["ID", "AGE", "SIZE", "FROM", "TO", "LAST", "REPLY"])
        self.assertEqual("".join(row.split()), "".join(ROW).replace(" ", ""))


class SafeTests(SynchronousTestCase):
    def test_what_shows_nothing_or_commands_a_terminal_is_named(self) -> None:
        for hidden in (
            "\x1b",
            "\x9b",
            "\u200b",
            "\u202e",
            "\u2066",
            "\u061c",
            "\ufeff",
            "\u3164",
            "\ufe0f",
            "\U000e0041",
            "\U000e0101",
            "\xa0",
            "\ud800",
        ):
            self.assertEqual(f"a\\x{{{ord(hidden):X}}}b", tables.safe(f"a{hidden}b"))

    def test_the_rest_stays(self) -> None:
        for text in ("", "550 5.1.1 No such user", "Grüße", "почта@пример.рф", "用户"):
            self.assertEqual(text, tables.safe(text))

    def test_json_is_ascii(self) -> None:
        shown = io.StringIO()
        self.patch(sys, "stdout", shown)
        tables.show_json({"a": "x\u202ey", "b": [1, None]})
        self.assertEqual('{"a":"x\\u202ey","b":[1,null]}\n', shown.getvalue())
