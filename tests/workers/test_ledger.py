"""The ledger of places: totals hold, what is free is granted, nobody waits behind who has more."""

from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.workers.ledger import Ledger, Order
from tests.properties import given

KEY = "upstream main"
DOOR = "listener lan"


def granted(worker: int, count: int = 1, key: str = KEY) -> Order:
    return Order(worker, "granted", key, count)


def recall(worker: int, key: str = KEY) -> Order:
    return Order(worker, "recall", key)


class GrantTests(SynchronousTestCase):
    def test_what_is_free_is_granted(self) -> None:
        ledger = Ledger(2)
        self.assertEqual([granted(0)], ledger.want(0, KEY, 3, True))
        self.assertEqual([granted(1)], ledger.want(1, KEY, 3, True))

    def test_of_many_a_part_of_the_fair_share_at_a_time(self) -> None:
        ledger = Ledger(2)
        self.assertEqual([granted(0, 10)], ledger.want(0, KEY, 160, True))

    def test_the_last_batch_is_what_is_left(self) -> None:
        ledger = Ledger(1)
        orders = [order for _ in range(10) for order in ledger.want(0, KEY, 17, True)]
        self.assertEqual([*[granted(0, 2)] * 8, granted(0)], orders, "and then there is none")

    def test_keys_do_not_touch_each_other(self) -> None:
        ledger = Ledger(2)
        ledger.want(0, KEY, 1, True)
        self.assertEqual([granted(1, 1, "other")], ledger.want(1, "other", 1, True))

    def test_a_new_total_counts_from_the_next_wish_on(self) -> None:
        ledger = Ledger(1)
        ledger.want(0, KEY, 1, True)
        self.assertEqual([], ledger.want(0, KEY, 1, True))
        self.assertEqual([granted(0), granted(0)], ledger.want(0, KEY, 3, True))

    def test_places_given_back_leave_no_account(self) -> None:
        ledger = Ledger(1)
        ledger.want(0, KEY, 3, True)
        ledger.give(0, KEY, 1)
        self.assertIn(" 0 keys", repr(ledger))

    def test_given_back_after_all_is_forgotten(self) -> None:
        self.assertEqual([], Ledger(1).give(0, KEY, 0))


class WaitingTests(SynchronousTestCase):
    """Wishes that may wait: sessions with an upstream."""

    def setUp(self) -> None:
        self.ledger = Ledger(4)
        for worker in (0, 0, 1):
            self.ledger.want(worker, KEY, 3, True)

    def test_one_place_is_recalled_from_who_holds_most(self) -> None:
        self.assertEqual([recall(0)], self.ledger.want(2, KEY, 3, True))
        self.assertEqual([], self.ledger.want(3, KEY, 3, True), "one at a time")
        self.assertEqual([granted(2), recall(0)], self.ledger.give(0, KEY, 1))

    def test_one_after_the_other_waits(self) -> None:
        ledger = Ledger(4)
        for _ in range(3):
            ledger.want(0, KEY, 3, True)
        ledger.want(1, KEY, 3, True)
        ledger.want(2, KEY, 3, True)
        self.assertEqual([granted(1), recall(0)], ledger.give(0, KEY, 1))
        self.assertEqual([granted(2)], ledger.give(0, KEY, 1))

    def test_nobody_is_asked_twice_for_one_wish(self) -> None:
        self.ledger.want(2, KEY, 3, True)
        self.assertEqual([recall(1)], self.ledger.give(0, KEY, 0))
        self.assertEqual([], self.ledger.give(1, KEY, 0))
        self.assertEqual([granted(2)], self.ledger.give(0, KEY, 1))

    def test_who_has_as_much_is_not_asked(self) -> None:
        self.assertEqual([], self.ledger.want(0, KEY, 3, True))

    def test_who_has_less_does_not_wait_behind_who_has_more(self) -> None:
        self.ledger.want(1, KEY, 3, True)  # 0 is asked
        self.ledger.want(2, KEY, 3, True)
        self.assertEqual([granted(2)], self.ledger.give(0, KEY, 1))

    def test_a_wish_that_nobody_can_grant_is_in_nobodys_way(self) -> None:
        ledger = Ledger(4)
        for worker in (0, 1, 2):
            ledger.want(worker, KEY, 3, True)
        self.assertEqual([], ledger.want(0, KEY, 3, True))  # none has more than one
        self.assertEqual([recall(0)], ledger.want(3, KEY, 3, True))
        self.assertEqual([granted(3), recall(1)], ledger.give(0, KEY, 1), "not to 0 again")

    def test_what_the_dead_held_goes_to_who_waits(self) -> None:
        self.ledger.want(2, KEY, 3, True)
        self.assertEqual([granted(2)], self.ledger.gone(0))
        self.assertEqual([granted(2)], self.ledger.want(2, KEY, 3, True), "it held two")

    def test_the_wishes_of_the_dead_are_forgotten(self) -> None:
        self.ledger.want(2, KEY, 3, True)
        self.ledger.gone(2)
        self.assertEqual([], self.ledger.give(0, KEY, 1))

    def test_who_died_owing_an_answer_is_not_waited_for(self) -> None:
        ledger = Ledger(3)
        for worker in (0, 0, 1, 1):
            ledger.want(worker, KEY, 4, True)
        self.assertEqual([recall(0)], ledger.want(2, KEY, 4, True))
        self.assertEqual([granted(2)], ledger.gone(0))
        self.assertEqual([granted(2)], ledger.want(2, KEY, 4, True))

    def test_an_answer_that_the_dead_owed_is_not_waited_for(self) -> None:
        """Else nobody would be asked any more."""
        ledger = Ledger(3)
        for worker in (0, 0, 0, 0):
            ledger.want(worker, KEY, 4, True)
        self.assertEqual([recall(0)], ledger.want(1, KEY, 4, True))
        self.assertEqual([granted(1)], ledger.gone(0))
        for _ in range(3):
            ledger.want(1, KEY, 4, True)
        self.assertEqual([recall(1)], ledger.want(2, KEY, 4, True))


class DoorTests(SynchronousTestCase):
    """Wishes that may not wait: connections of clients."""

    def setUp(self) -> None:
        self.ledger = Ledger(3)
        for worker in (0, 1):
            self.ledger.want(worker, DOOR, 2, False)

    def test_all_others_are_asked_what_they_do_not_use(self) -> None:
        orders = self.ledger.want(2, DOOR, 2, False)
        self.assertEqual({recall(0, DOOR), recall(1, DOOR)}, set(orders))
        self.assertEqual([granted(2, 1, DOOR)], self.ledger.give(1, DOOR, 1))

    def test_none_once_all_have_said_no(self) -> None:
        self.ledger.want(2, DOOR, 2, False)
        self.assertEqual([], self.ledger.give(0, DOOR, 0))
        self.assertEqual([Order(2, "none", DOOR)], self.ledger.give(1, DOOR, 0))

    def test_none_at_once_where_nobody_else_holds_any(self) -> None:
        ledger = Ledger(2)
        ledger.want(0, DOOR, 1, False)
        self.assertEqual([Order(0, "none", DOOR)], ledger.want(0, DOOR, 1, False))


class AnyOrderTests(SynchronousTestCase):
    steps = st.lists(
        st.tuples(st.sampled_from(("want", "give", "gone")), st.integers(0, 3)),
        max_size=60,
    )

    @given(steps)
    def test_never_more_than_there_are_and_none_kept_from_who_waits(
        self, steps: list[tuple[str, int]]
    ) -> None:
        ledger = Ledger(4)
        held, waiting = [0] * 4, [0] * 4
        for verb, worker in steps:
            if verb == "want":
                waiting[worker] += 1
                orders = ledger.want(worker, KEY, 3, True)
            elif verb == "give":
                count = min(held[worker], 1)
                held[worker] -= count
                orders = ledger.give(worker, KEY, count)
            else:
                held[worker] = waiting[worker] = 0
                orders = ledger.gone(worker)
            for order in orders:
                if order.name == "granted":
                    held[order.worker] += order.count
                    waiting[order.worker] -= 1
            self.assertLessEqual(sum(held), 3)
            self.assertTrue(sum(held) == 3 or not any(waiting), "free though somebody waits")
