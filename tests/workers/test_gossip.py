"""Errors of clients between workers: gathered for a second, told to all others, never back."""

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from relay.inbound.conduct import Conduct
from relay.workers import gossip as gossip_module
from relay.workers.gossip import TOLD_EVERY, Gossip, pass_on


class End:
    """A worker as its supervisor has it, and as it is."""

    def __init__(self, number: int, clock: Clock, all_of_them: dict[int, Any]) -> None:
        self.channel = self
        self.conduct = Conduct()
        self.told: list[Any] = []

        def to_supervisor(name: str, rows: Any) -> None:
            assert name == "erred"
            pass_on(rows, number, all_of_them)

        self.gossip = Gossip(self.conduct, to_supervisor, clock)
        all_of_them[number] = self

    def tell(self, name: str, rows: Any) -> None:
        assert name == "erred"
        self.told.append(rows)
        self.gossip.hear(rows)


class GossipTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.workers: dict[int, Any] = {}
        self.one, self.two, self.three = (End(n, self.clock, self.workers) for n in range(3))

    def erred(self, end: End, key: str, times: int = 1) -> None:
        end.conduct.erred(key, self.clock.seconds(), times, 4)

    def is_over(self, key: str) -> list[bool]:
        now = self.clock.seconds()
        return [end.conduct.is_over(key, now, 4) for end in (self.one, self.two, self.three)]

    def test_errors_at_several_are_one_total(self) -> None:
        for end in (self.one, self.two, self.three):
            self.erred(end, "a", 2)
        self.assertEqual([False] * 3, self.is_over("a"))
        self.clock.advance(TOLD_EVERY)
        self.assertEqual([True] * 3, self.is_over("a"))
        self.assertEqual([False] * 3, self.is_over("b"))

    def test_those_of_a_second_go_together_and_never_back(self) -> None:
        for key in ("a", "b", "a"):
            self.erred(self.one, key)
        self.clock.pump([TOLD_EVERY] * 5)
        self.assertEqual([[("a", 2, 4), ("b", 1, 4)]], self.two.told)
        self.assertEqual([], self.one.told)
        self.assertEqual([], self.clock.getDelayedCalls())
        self.erred(self.one, "c")
        self.clock.advance(TOLD_EVERY)
        self.assertEqual([("c", 1, 4)], self.two.told[-1])

    def test_what_waits_is_bounded(self) -> None:
        self.patch(gossip_module, "MAX_UNTOLD", 2)
        for key in ("a", "b", "c", "a"):
            self.erred(self.one, key, 5)
        self.clock.advance(TOLD_EVERY)
        self.assertEqual([[("a", 10, 4), ("b", 5, 4)]], self.two.told)
        self.assertEqual([True, False, False], self.is_over("c"))
