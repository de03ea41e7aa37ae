"""Lanes that are made for a domain: there while they matter, forgotten when nothing waits."""

from twisted.trial.unittest import SynchronousTestCase

from relay.queue.lane_book import LaneBook
from relay.queue.store import LaneState


class LaneBookTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.book = LaneBook(["smarthost"], {"internet"}, 8)

    def test_lanes_of_the_config_last(self) -> None:
        lane = self.book.find("smarthost")
        assert lane is not None
        self.assertFalse(self.book.forget(lane))
        self.assertIs(lane, self.book.get("smarthost"))

    def test_what_the_config_knows(self) -> None:
        for name, is_known in (
            ("smarthost", True),
            ("internet:example.org", True),
            ("internet:", True),
            ("internet", False),
            ("smarthost:example.org", False),
            ("other:example.org", False),
            ("", False),
        ):
            self.assertEqual(is_known, name in self.book, name)
            self.assertEqual(is_known, self.book.get(name) is not None, name)

    def test_made_when_asked_for(self) -> None:
        self.assertIsNone(self.book.find("internet:example.org"))
        lane = self.book.get("internet:example.org")
        self.assertIs(lane, self.book.find("internet:example.org"))
        assert lane is not None
        self.assertTrue(self.book.forget(lane))
        self.assertEqual(["smarthost"], list(self.book.names()))

    def test_not_forgotten_while_it_matters(self) -> None:
        lane = self.book.get("internet:example.org")
        assert lane is not None
        for attribute, value, empty in (
            ("in_hand", 1, 0),
            ("claiming", 1, False),
            ("is_held", True, False),
            ("next_due_at", 0.0, None),
        ):
            setattr(lane, attribute, value)
            self.assertFalse(self.book.forget(lane), attribute)
            setattr(lane, attribute, empty)
        self.assertTrue(self.book.forget(lane))
        self.assertFalse(self.book.forget(lane))

    def test_one_made_meanwhile_is_another(self) -> None:
        old = self.book.get("internet:example.org")
        assert old is not None
        self.book.forget(old)
        new = self.book.get("internet:example.org")
        self.assertFalse(self.book.forget(old))
        self.assertIs(new, self.book.find("internet:example.org"))

    def test_resumed(self) -> None:
        for name in ("smarthost", "internet:example.org", "other:example.org"):
            self.book.resume(LaneState(name, attempt=3, waiting=1))
        self.assertEqual(["smarthost", "internet:example.org"], list(self.book.names()))
        self.assertEqual([3, 3], [lane.attempt for lane in self.book])

    def test_another_config_leaves_the_lanes_of_both_as_they_are(self) -> None:
        """What the store has of them is older than what they know."""
        lane = self.book.get("smarthost")
        stored = {"smarthost": LaneState("smarthost", 3)}
        self.assertEqual([], self.book.change(["smarthost"], {"internet"}, 8, stored))
        self.assertIs(lane, self.book.get("smarthost"))
