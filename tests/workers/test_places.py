"""Ledger and purses together, in memory: whatever the order of things, limits hold, and nobody
waits for ever."""

from collections import deque
from typing import Any

from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from relay.workers.ledger import Ledger, Order
from relay.workers.purse import CLEAN_EVERY, Purse
from tests.properties import given, settings

WORKERS = 3
WAITED_FOR, AT_ONCE = "waited for", "at once"


class World:
    """A supervisor and its workers; what they say to each other is on the way for a while."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.allowed = dict.fromkeys((WAITED_FOR, AT_ONCE), total)
        self.clocks = [Clock() for _ in range(WORKERS)]  # one that died needs none any more
        self.ledger = Ledger(WORKERS)
        self.up: list[deque[tuple[Any, ...]]] = [deque() for _ in range(WORKERS)]
        self.down: list[deque[Order]] = [deque() for _ in range(WORKERS)]
        self.purses = [self._purse(number) for number in range(WORKERS)]
        self.used = [{WAITED_FOR: 0, AT_ONCE: 0} for _ in range(WORKERS)]
        self.waiting = [0] * WORKERS
        self.refused = 0

    def _purse(self, number: int) -> Purse:
        purse = Purse(lambda *words: self.up[number].append(words), self.clocks[number])
        purse.start()
        return purse

    # what may happen

    def take(self, number: int) -> None:
        def taken(had: bool) -> None:
            assert had
            self.waiting[number] -= 1
            self.used[number][WAITED_FOR] += 1

        self.waiting[number] += 1
        self.purses[number].take(WAITED_FOR, self.total, taken, lambda: None)

    def take_at_once(self, number: int) -> None:
        def taken(had: bool) -> None:
            self.used[number][AT_ONCE] += had
            self.refused += not had

        self.purses[number].take(AT_ONCE, self.total, taken)

    def give(self, number: int, key: str) -> None:
        if self.used[number][key]:
            self.used[number][key] -= 1
            self.purses[number].give(key)

    def hear(self, number: int) -> None:
        """The supervisor hears what this worker said first."""
        if self.up[number]:
            name, *words = self.up[number].popleft()
            orders = (self.ledger.want if name == "want" else self.ledger.give)(number, *words)
            self._send(orders)

    def obey(self, number: int) -> None:
        if self.down[number]:
            order = self.down[number].popleft()
            words = (order.count,) if order.name == "granted" else ()
            getattr(self.purses[number], order.name)(order.key, *words)

    def die(self, number: int) -> None:
        self.up[number].clear()
        self.down[number].clear()
        self.used[number] = {WAITED_FOR: 0, AT_ONCE: 0}
        self.waiting[number] = 0
        self.clocks[number] = Clock()
        self.purses[number] = self._purse(number)
        self._send(self.ledger.gone(number))

    def fewer(self, number: int) -> None:
        """A reload halves the limit."""
        self.settle()
        self.total = max(1, self.total // 2)

    def clean(self, number: int) -> None:
        for clock in self.clocks:
            clock.advance(CLEAN_EVERY)

    def _send(self, orders: list[Order]) -> None:
        for order in orders:
            self.down[order.worker].append(order)

    # what must hold

    def check(self) -> None:
        """More than the limit may be used where it was lowered, but never one more again."""
        for key in (WAITED_FOR, AT_ONCE):
            used = sum(used[key] for used in self.used)
            assert used <= self.allowed[key]
            self.allowed[key] = max(self.total, used)

    def settle(self) -> None:
        while any(self.up) or any(self.down):
            for number in range(WORKERS):
                self.hear(number)
                self.obey(number)
                self.check()


STEPS = {
    "take": World.take,
    "take at once": World.take_at_once,
    "give": lambda world, number: world.give(number, WAITED_FOR),
    "give what was had at once": lambda world, number: world.give(number, AT_ONCE),
    "hear": World.hear,
    "obey": World.obey,
    "die": World.die,
    "fewer": World.fewer,
    "clean": World.clean,
}


class PlacesTests(SynchronousTestCase):
    @settings(max_examples=300)
    @given(
        st.integers(1, 40),
        st.lists(st.tuples(st.sampled_from(list(STEPS)), st.integers(0, WORKERS - 1))),
    )
    def test_whatever_happens(self, total: int, steps: list[tuple[str, int]]) -> None:
        world = World(total)
        for name, number in steps:
            STEPS[name](world, number)
            world.check()
        world.settle()
        self._all_leave(world)
        self.assertEqual([0] * WORKERS, world.waiting, "everybody had a turn")
        for _ in range(3):
            world.clean(0)
            world.settle()
        self.assertEqual("<Ledger 3 workers, 0 keys>", repr(world.ledger))
        self.assertEqual(["<Purse 0 keys>"] * WORKERS, [repr(purse) for purse in world.purses])

    def _all_leave(self, world: World) -> None:
        """Those who wait come in meanwhile, and leave, too."""
        while any(sum(used.values()) for used in world.used):
            for number in range(WORKERS):
                world.give(number, WAITED_FOR)
                world.give(number, AT_ONCE)
            world.settle()

    def test_what_is_free_is_found_wherever_it_is(self) -> None:
        world = World(8)
        for _ in range(8):
            world.take_at_once(0)
            world.settle()
        for _ in range(8):
            world.give(0, AT_ONCE)
        for _ in range(8):
            world.take_at_once(1)
            world.settle()
        self.assertEqual((8, 0), (world.used[1][AT_ONCE], world.refused))
        world.take_at_once(2)
        world.settle()
        self.assertEqual(1, world.refused)

    def test_a_limit_that_was_lowered_holds_once_those_beyond_it_have_left(self) -> None:
        world = World(20)
        for number in range(WORKERS):
            for _ in range(6):
                world.take(number)
                world.settle()
        world.total = 4
        for _ in range(8):
            for number in range(WORKERS):
                world.take(number)
                world.give(number, WAITED_FOR)
                world.settle()
        self.assertEqual(4, sum(used[WAITED_FOR] for used in world.used))

    def test_a_grant_that_comes_after_it_is_needed(self) -> None:
        world = World(100)
        for _ in range(3):
            world.take(0)
        world.hear(0)
        world.obey(0)
        self.assertEqual(3, world.used[0][WAITED_FOR])
        for _ in range(3):
            world.give(0, WAITED_FOR)
        for _ in range(3):
            world.clean(0)
        world.settle()
        world.take(0)
        world.settle()
        self.assertEqual(1, world.used[0][WAITED_FOR])
