"""Queue ids: growing whatever the clock does, told apart between starts and workers."""

from hypothesis.strategies import integers, lists, text
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from relay.queue.ids import EPOCH, QueueIds, first_after, from_int, known_numbers, to_int
from tests.properties import given

NUMBERS = integers(0, 2**63 - 1)


class SetClock:
    """A clock that is set, also back."""

    now = 0.0

    def seconds(self) -> float:
        return self.now


class NumberTests(SynchronousTestCase):
    @given(NUMBERS)
    def test_text_and_number_are_one(self, number: int) -> None:
        self.assertEqual(to_int(from_int(number)), number)

    @given(NUMBERS, NUMBERS)
    def test_text_sorts_as_the_number(self, one: int, other: int) -> None:
        self.assertEqual(from_int(one) < from_int(other), one < other)

    @given(text(max_size=14))
    def test_other_text_is_refused_or_canonical(self, given: str) -> None:
        for queue_id in (given, given.rjust(13, "0")):
            try:
                number = to_int(queue_id)
            except ValueError:
                self.assertEqual(known_numbers([queue_id]), [])
            else:
                self.assertEqual(from_int(number), queue_id)

    def test_what_looks_like_an_id_and_is_none(self) -> None:
        for queue_id in ("V" * 13, "1_00000000000", " 000000000001", "00000000000a1", "../000001"):
            self.assertRaises(ValueError, to_int, queue_id)


class QueueIdsTests(SynchronousTestCase):
    @given(lists(integers(-100, 100), max_size=50))
    def test_ids_grow_whatever_the_clock_does(self, steps: list[int]) -> None:
        clock = SetClock()
        clock.now = EPOCH + 1000.0
        ids = QueueIds(5, 3, clock)
        made = [ids.next()]
        for step in steps:
            clock.now += step / 10
            made += [ids.next(), ids.next()]
        self.assertEqual(made, sorted(set(made)))

    def test_a_second_that_is_used_up_borrows_from_the_next(self) -> None:
        clock = Clock()
        clock.advance(EPOCH + 10)
        ids = QueueIds(1, 0, clock)
        made = [ids.next() for _ in range(40_000)]
        self.assertEqual(len(set(made)), 40_000)
        self.assertEqual(made, sorted(made))
        self.assertLess(to_int(made[-1]), first_after(EPOCH + 12))

    def test_starts_and_workers_never_share_an_id(self) -> None:
        clock = Clock()
        clock.advance(EPOCH + 10)
        pairs = [(1, 0), (2, 0), (1, 1), (1023, 255)]
        made = [QueueIds(start, worker, clock).next() for start, worker in pairs]
        self.assertEqual(len(set(made)), len(pairs))

    def test_a_clock_before_2020_makes_ids_all_the_same(self) -> None:
        ids = QueueIds(1, 0, Clock())
        made = [ids.next() for _ in range(3)]
        self.assertEqual(made, sorted(set(made)))
        self.assertLess(to_int(made[-1]), first_after(0.0))

    def test_first_after_parts_seconds(self) -> None:
        clock = Clock()
        clock.advance(EPOCH + 77.9)
        number = to_int(QueueIds(1023, 255, clock).next())
        self.assertLess(number, first_after(EPOCH + 77.9))
        self.assertGreaterEqual(number, first_after(EPOCH + 76.9))
