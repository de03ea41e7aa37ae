"""A worker's purse of places, alone and with others at one ledger."""

from collections.abc import Callable

from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from relay.workers.ledger import Ledger, Order
from relay.workers.purse import CLEAN_EVERY, Purse
from tests.properties import given, settings

KEY = "upstream main"
STEPS = ("take", "give", "move", "tick", "die")


class PurseCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.told: list[tuple[object, ...]] = []
        self.purse = Purse(lambda *words: self.told.append(words), self.clock)
        self.purse.start()
        self.addCleanup(self.purse.stop)
        self.had: list[bool] = []
        self.recalls = 0

    def take(self) -> None:
        self.purse.take(KEY, 5, self.had.append, self.note_recall)

    def note_recall(self) -> None:
        self.recalls += 1

    def heard(self) -> list[tuple[object, ...]]:
        """What the supervisor was told since the last time."""
        told, self.told = self.told, []
        return told


class TakeTests(PurseCase):
    def test_asked_for_and_had_once_granted(self) -> None:
        self.take()
        self.assertEqual(([("want", KEY, 5, True)], []), (self.heard(), self.had))
        self.purse.granted(KEY, 1)
        self.assertEqual([True], self.had)

    def test_a_batch_serves_all_that_wait_and_the_next(self) -> None:
        self.take()
        self.take()
        self.purse.granted(KEY, 3)
        self.heard()
        self.take()
        self.assertEqual(([], [True] * 3), (self.heard(), self.had))

    def test_given_back_it_serves_the_next_without_asking(self) -> None:
        self.take()
        self.purse.granted(KEY, 1)
        self.purse.give(KEY)
        self.heard()
        self.take()
        self.assertEqual(([], [True] * 2), (self.heard(), self.had))

    def test_given_back_it_serves_who_waits_already(self) -> None:
        self.take()
        self.purse.granted(KEY, 1)
        self.take()
        self.assertEqual([True], self.had)
        self.purse.give(KEY)
        self.assertEqual([True] * 2, self.had)

    def test_a_grant_that_nobody_waits_for_any_more_is_kept(self) -> None:
        self.take()
        self.purse.granted(KEY, 1)
        self.take()
        self.purse.give(KEY)  # serves the second
        self.purse.granted(KEY, 1)  # so this comes late
        self.heard()
        self.take()
        self.assertEqual(([], [True] * 3), (self.heard(), self.had))

    def test_a_late_grant_that_nobody_needs_goes_back(self) -> None:
        self.take()
        self.take()
        self.purse.granted(KEY, 1)
        self.purse.give(KEY)
        self.purse.give(KEY)
        self.clock.advance(CLEAN_EVERY)
        self.clock.advance(CLEAN_EVERY)
        self.heard()
        self.purse.granted(KEY, 1)
        self.clock.advance(CLEAN_EVERY)
        self.clock.advance(CLEAN_EVERY)
        self.assertEqual([("give", KEY, 1)], self.heard())

    def test_who_may_not_wait_hears_none(self) -> None:
        self.purse.take(KEY, 5, self.had.append)
        self.assertEqual([("want", KEY, 5, False)], self.heard())
        self.purse.none(KEY)
        self.assertEqual([False], self.had)
        self.purse.none(KEY)  # for one who was served meanwhile
        self.assertEqual([False], self.had)


class RecallTests(PurseCase):
    def test_what_is_unused_goes_at_once(self) -> None:
        self.take()
        self.purse.granted(KEY, 3)
        self.heard()
        self.purse.recall(KEY)
        self.assertEqual([("give", KEY, 2)], self.heard())
        self.assertEqual((0, False), (self.recalls, self.purse.is_recalled(KEY)))

    def test_where_all_are_used_the_next_free_one_goes(self) -> None:
        self.take()
        self.take()
        self.purse.granted(KEY, 2)
        self.heard()
        self.purse.recall(KEY)
        self.assertEqual([("give", KEY, 0)], self.heard())
        self.assertEqual((1, True), (self.recalls, self.purse.is_recalled(KEY)))
        self.purse.give(KEY)
        self.assertEqual([("give", KEY, 1)], self.heard())
        self.assertFalse(self.purse.is_recalled(KEY))
        self.purse.give(KEY)
        self.assertEqual([], self.heard(), "one was enough")

    def test_recalled_it_goes_even_if_one_here_waits(self) -> None:
        self.take()
        self.purse.granted(KEY, 1)
        self.take()
        self.purse.recall(KEY)
        self.heard()
        self.purse.give(KEY)
        self.assertEqual(([("give", KEY, 1)], [True]), (self.heard(), self.had))

    def test_of_what_is_not_known_there_is_none(self) -> None:
        self.purse.recall(KEY)
        self.assertEqual([("give", KEY, 0)], self.heard())
        self.assertFalse(self.purse.is_recalled(KEY))

    def test_places_that_cannot_be_freed_on_demand_are_not_asked_for(self) -> None:
        self.purse.take(KEY, 5, self.had.append)
        self.purse.granted(KEY, 1)
        self.heard()
        self.purse.recall(KEY)
        self.assertEqual([("give", KEY, 0)], self.heard())
        self.purse.give(KEY)
        self.assertEqual([], self.heard())


class CleaningTests(PurseCase):
    def test_what_nobody_used_for_a_while_goes_back(self) -> None:
        self.take()
        self.purse.granted(KEY, 2)
        self.purse.give(KEY)
        self.heard()
        self.clock.advance(CLEAN_EVERY)
        self.assertEqual([], self.heard(), "used a moment ago")
        self.clock.advance(CLEAN_EVERY)
        self.assertEqual([("give", KEY, 2)], self.heard())
        self.assertIn(" 0 keys", repr(self.purse))

    def test_what_is_used_stays(self) -> None:
        self.take()
        self.purse.granted(KEY, 1)
        self.heard()
        for _ in range(3):
            self.clock.advance(CLEAN_EVERY)
        self.assertEqual([], self.heard())
        self.purse.give(KEY)
        self.take()
        self.assertEqual([True, True], self.had)


class SeveralTests(SynchronousTestCase):
    """Purses and the ledger together, as the channel joins them: messages in order, late."""

    @given(
        st.lists(
            st.tuples(st.sampled_from(["take", "give", "move", "tick", "die"]), st.integers(0, 3))
        ),
        st.integers(1, 5),
    )
    @settings(max_examples=200)
    def test_the_total_holds_and_everybody_is_served_at_last(
        self, steps: list[tuple[str, int]], total: int
    ) -> None:
        world = World(total)
        for verb, worker in steps:
            getattr(world, verb)(worker)
            self.assertLessEqual(sum(world.used), total)
        for _ in range(400):
            for worker in range(4):
                world.move(worker)
                world.give(worker)
                world.tick(worker)
            if not any(world.waiting):
                return
        self.fail(f"{world.waiting} wait for ever: {world.ledger!r} {world.up} {world.down}")


class World:
    """Four workers' purses; what is told between them and the ledger moves when a step says so."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.ledger = Ledger(4)
        self.used, self.waiting = [0] * 4, [0] * 4
        self.up: list[list[tuple[str, tuple[object, ...]]]] = [[] for _ in range(4)]
        self.down: list[list[Order]] = [[] for _ in range(4)]
        self.clocks = [Clock() for _ in range(4)]
        self.purses = [self.purse(worker) for worker in range(4)]

    def purse(self, worker: int) -> Purse:
        up = self.up[worker]
        purse = Purse(lambda name, *words: up.append((name, words)), self.clocks[worker])
        purse.start()
        return purse

    def take(self, worker: int) -> None:
        self.waiting[worker] += 1
        self.purses[worker].take(KEY, self.total, self.had(worker), lambda: None)

    def had(self, worker: int) -> Callable[[bool], None]:
        def taken(is_had: bool) -> None:
            assert is_had
            self.waiting[worker] -= 1
            self.used[worker] += 1

        return taken

    def give(self, worker: int) -> None:
        if self.used[worker]:
            self.used[worker] -= 1
            self.purses[worker].give(KEY)

    def move(self, worker: int) -> None:
        """One message each way."""
        if self.up[worker]:
            name, words = self.up[worker].pop(0)
            for order in getattr(self.ledger, name)(worker, *words):
                self.down[order.worker].append(order)
        if self.down[worker]:
            order = self.down[worker].pop(0)
            purse = self.purses[worker]
            if order.name == "granted":
                purse.granted(order.key, order.count)
            else:
                getattr(purse, order.name)(order.key)

    def tick(self, worker: int) -> None:
        self.clocks[worker].advance(CLEAN_EVERY / 2)

    def die(self, worker: int) -> None:
        """And another one starts in its place."""
        self.purses[worker].stop()
        self.up[worker], self.down[worker] = [], []
        self.used[worker] = self.waiting[worker] = 0
        self.purses[worker] = self.purse(worker)
        for order in self.ledger.gone(worker):
            self.down[order.worker].append(order)
