"""The account tells what it should: made of arrivals that are known."""

import time

from twisted.trial.unittest import SynchronousTestCase

from tests.crash.account import Watched, settle
from tests.crash.load import SteadyLoad
from tests.process.collector import Kept
from tests.process.sending import SENDER, content


class AccountTests(SynchronousTestCase):
    begun = 0.0

    def setUp(self) -> None:
        self.load = SteadyLoad(0, accepted={"a@x", "b@x"}, unsure={"c@x"})
        self.upstream = Watched()

    def arrives(self, *names: str, what: str = "") -> None:
        for name in names:
            kept = Kept(f"FROM:<{SENDER}>", [f"TO:<{name}>"], content(what or name), "ESMTP")
            kept.begun = self.begun or time.monotonic()
            self.upstream.collector.keep(kept)

    def bad(self, waiting: tuple[str, ...] = ()) -> tuple[set[str], ...]:
        found = settle(self.load, self.upstream, waiting)
        sets = (found.lost, found.invented, found.damaged, found.twice_without_fault)
        self.assertEqual(found.is_good, not any(sets))
        return tuple(map(set, sets))

    def test_good(self) -> None:
        self.arrives("a@x", "b@x")
        self.assertEqual((set(), set(), set(), set()), self.bad())
        self.arrives("c@x")
        self.assertEqual((set(), set(), set(), set()), self.bad())

    def test_lost(self) -> None:
        self.arrives("a@x")
        self.assertEqual({"b@x"}, self.bad()[0])
        self.assertEqual(set(), self.bad(("b@x",))[0])

    def test_invented(self) -> None:
        self.arrives("a@x", "b@x", "d@x")
        self.assertEqual({"d@x"}, self.bad()[1])

    def test_damaged(self) -> None:
        self.arrives("a@x")
        self.arrives("b@x", what="a@x")
        self.assertEqual({"b@x"}, self.bad()[2])

    def test_twice(self) -> None:
        self.arrives("a@x", "b@x")
        self.upstream.note_fault()
        self.arrives("a@x")
        self.assertEqual(set(), self.bad()[3])
        self.arrives("a@x")
        self.assertEqual({"a@x"}, self.bad()[3])

    def test_the_end_of_a_copy_is_read_when_its_sender_is_dead(self) -> None:
        self.begun = time.monotonic()
        self.upstream.note_fault()
        self.arrives("a@x", "b@x")
        self.begun = 0.0
        self.arrives("a@x")
        self.assertEqual(set(), self.bad()[3])
        self.arrives("a@x")
        self.assertEqual({"a@x"}, self.bad()[3])
