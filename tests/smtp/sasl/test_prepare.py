"""SASLprep: the examples of RFC 4013 3, and what is refused."""

from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.smtp.sasl.prepare import Unprepared, prepare
from tests.properties import given


class PrepareTests(SynchronousTestCase):
    def test_examples_of_the_rfc(self) -> None:
        for text, prepared in (
            ("I\u00adX", "IX"),
            ("user", "user"),
            ("USER", "USER"),
            ("\u00aa", "a"),
            ("\u2168", "IX"),
        ):
            self.assertEqual(prepare(text), prepared)
        for text in ("\u0007", "\u0627\u0031"):
            self.assertRaises(Unprepared, prepare, text)

    def test_spaces(self) -> None:
        self.assertEqual(prepare("a\u00a0b c"), "a b c")
        self.assertEqual(prepare("a\u200bb"), "a b")

    def test_what_is_refused(self) -> None:
        for text in (
            "",
            "\u00ad",
            "a\0b",
            "a\nb",
            "\x7f",
            "\ud800",
            "\ufffd",
            "\ue000",
            "\U000e0001",
        ):
            self.assertRaises(Unprepared, prepare, text)

    def test_right_to_left(self) -> None:
        self.assertEqual(prepare("\u0627\u0628"), "\u0627\u0628")
        self.assertRaises(Unprepared, prepare, "\u0627a\u0628")
        self.assertRaises(Unprepared, prepare, "\u0627\u0628a")

    def test_unassigned_characters_may_be_tried_but_not_kept(self) -> None:
        new = "\u1e9e"  # of Unicode 5.1
        self.assertEqual(prepare(new), new)
        self.assertRaises(Unprepared, prepare, new, is_stored=True)

    @given(st.text(max_size=20))
    def test_prepared_once_is_prepared(self, text: str) -> None:
        try:
            prepared = prepare(text)
        except Unprepared:
            return
        self.assertEqual(prepare(prepared), prepared)
        self.assertNotIn("\0", prepared)
