"""A worker's purse of places, alone and with others at one ledger."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from relay.workers.purse import CLEAN_EVERY, Purse

KEY = "upstream main"
STEPS = ("take", "give", "move", "tick", "die")


class PurseCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.told: list[tuple[object, ...]] = []
        self.purse = Purse(lambda *words: self.told.append(words), self.clock)
        self.purse.start()
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
