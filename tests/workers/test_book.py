"""The book of failures and the workers that tell it theirs, over channels in memory."""

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from relay.notices import ShutOut
from relay.users import failures as failures_module
from relay.users.failures import Failures, Limits
from relay.workers import reporter as reporter_module
from relay.workers.book import BATCH, Book
from relay.workers.channel import Channel, Gone, OneChannel
from relay.workers.reporter import Reporter

LIMITS = Limits(1.0, 10.0, 6, 900.0)


class Worker:
    """Its failures, and the channel's two ends; nothing is carried before `carry`."""

    def __init__(self, number: int, book: Book, clock: "BookCase") -> None:
        self._clock = clock
        self.failures = Failures(LIMITS)
        self.reporter = Reporter(self.failures, lambda *words: self.ours.ask(*words), clock.seconds)
        told = {"digest_key": self.reporter.use_key}
        self.ours = Channel(told, {"failures": self.reporter.learn}, lambda: None)
        asked = {"failed": lambda rows: book.failed(number, rows)}
        self.theirs = Channel({}, asked, lambda: None)
        for end in (self.ours, self.theirs):
            OneChannel(end).buildProtocol(None).makeConnection(StringTransport())
        book.open_for(number, self.theirs.tell, self.theirs.ask)

    def failed(self, key: str, tried: bytes = b"") -> int:
        return self.failures.failed(key, self._clock.now, tried, "lan").count

    def count(self, key: str) -> int:
        entry = self.failures.entry(key, self._clock.now)
        return 0 if entry is None else entry.failures

    def is_shut_out(self, key: str) -> bool:
        return self.failures.is_shut_out(key, self._clock.now)

    def carry(self) -> int:
        """What was written arrives. Yields the octets."""
        return moved(self.ours, self.theirs) + self.hear()

    def hear(self) -> int:
        """What the book said."""
        return moved(self.theirs, self.ours)


def moved(here: Channel, there: Channel) -> int:
    octets: bytes = here.transport.value()  # type: ignore[union-attr]
    here.transport.clear()  # type: ignore[union-attr]
    there.dataReceived(octets)
    return len(octets)


class BookCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.now = 1000.0
        self.notices: list[Any] = []
        self.book = Book(self.seconds, self.notices.append)
        self.book.use(LIMITS)
        self.workers = [Worker(number, self.book, self) for number in range(3)]

    def seconds(self) -> float:
        return self.now

    def carry_all(self) -> None:
        while sum(worker.carry() for worker in self.workers):
            pass

    def counts(self, key: str = "a") -> list[int]:
        return [worker.count(key) for worker in self.workers]


class CountTests(BookCase):
    def test_all_know_the_total(self) -> None:
        first, second, _ = self.workers
        self.assertEqual([1, 2, 1], [first.failed("a"), first.failed("a"), second.failed("a")])
        self.carry_all()
        self.assertEqual([3, 3, 3], self.counts())
        self.assertEqual(4, second.failed("a"))

    def test_what_is_on_its_way_counts_once(self) -> None:
        """Whatever the order in which telling and being told cross."""
        first, second, third = self.workers
        for _ in range(3):
            first.failed("a")
            second.failed("a")
            second.carry()
        self.assertEqual([3, 3, 0], self.counts())
        third.carry()
        first.carry()
        second.failed("a")
        first.failed("a")
        self.carry_all()
        self.assertEqual([8, 8, 8], self.counts())
        self.assertEqual(8, self.book.status()["shut_out"][0]["failures"])  # type: ignore[index]

    def test_being_told_does_not_undo_what_is_on_its_way(self) -> None:
        first, second, _ = self.workers
        second.failed("a", b"another")
        second.carry()
        self.assertEqual(1, first.failed("a", b"own"))
        first.hear()
        self.assertEqual(2, first.count("a"))
        self.assertEqual(2, first.failed("a", b"own"), "the same again")
        self.assertEqual(3, first.failed("a", b"other"))
        self.carry_all()
        self.assertEqual([3, 3, 3], self.counts())

    def test_shut_out_by_failures_of_which_nobody_saw_enough(self) -> None:
        for worker in (*self.workers, *self.workers):
            worker.failed("a")
        self.assertEqual([False] * 3, [worker.is_shut_out("a") for worker in self.workers])
        self.carry_all()
        self.assertEqual([True] * 3, [worker.is_shut_out("a") for worker in self.workers])
        self.assertEqual([ShutOut("a", "lan", 6)], self.notices)
        self.now += 900.0
        self.assertEqual([False] * 3, [worker.is_shut_out("a") for worker in self.workers])
        self.assertEqual(0, self.book.status()["shut_out_addresses"])

    def test_told_once_whoever_finds_it(self) -> None:
        first, *_ = self.workers
        for _ in range(7):
            verdict = first.failures.failed("a", self.now, b"", "lan")
            self.assertFalse(verdict.is_shut_out, "the book tells of it")
        self.assertTrue(first.is_shut_out("a"))
        self.carry_all()
        self.assertEqual([ShutOut("a", "lan", 6)], self.notices)

    def test_the_same_wrong_password_at_another_worker(self) -> None:
        digests = []
        self.carry_all()
        for worker in (*self.workers, *self.workers):
            digests.append(worker.failures.digest("tim", "wrong"))
            worker.failed("a", digests[-1])
            self.carry_all()
        self.assertEqual(([1, 1, 1], 1), (self.counts(), len(set(digests))))

    def test_the_same_wrong_password_at_all_at_once(self) -> None:
        for worker in self.workers:
            worker.failed("a", b"same")
        self.carry_all()
        self.assertEqual([1, 1, 1], self.counts())


class StartTests(BookCase):
    def test_a_new_worker_learns_all_that_counts(self) -> None:
        self.patch(failures_module, "MAX_ADDRESSES", 3 * BATCH)
        first = self.workers[0]
        for number in range(2 * BATCH + 7):
            first.failed(f"{number}")
            self.carry_all()
        for _ in range(5):
            first.failed("7")
        self.carry_all()
        self.now += 899.0
        self.book.close_for(1)
        new = self.workers[1] = Worker(1, self.book, self)
        new.carry()
        self.assertEqual((True, BATCH), (new.is_shut_out("7"), len(new.failures)))
        self.carry_all()
        self.assertEqual(2 * BATCH + 7, len(new.failures))
        self.now += 1.0
        self.assertFalse(new.is_shut_out("7"))

    def test_nothing_that_is_forgotten(self) -> None:
        self.workers[0].failed("a")
        self.carry_all()
        self.now += 900.0
        new = self.workers[1] = Worker(1, self.book, self)
        self.carry_all()
        self.assertEqual(0, len(new.failures))


class TroubleTests(BookCase):
    def test_a_supervisor_that_hangs_is_told_no_more_than_so_much(self) -> None:
        self.patch(reporter_module, "MAX_UNTOLD", 3)
        worker = self.workers[0]
        told = [worker.failures.failed("a", self.now, b"", "lan") for _ in range(8)]
        self.assertEqual(list(range(1, 9)), [verdict.count for verdict in told])
        sent = worker.ours.transport.value().count(b"\n")
        self.assertEqual((1, 1 + 3), (sent, worker.reporter._unanswered.total()))
        self.assertEqual([5], [n for n, v in enumerate(told) if v.is_shut_out], "nobody else will")

    def test_no_supervisor_any_more(self) -> None:
        worker = self.workers[0]
        worker.failed("a")
        worker.ours.connectionLost()
        for _ in range(4):
            worker.failed("a")
        verdict = worker.failures.failed("a", self.now, b"", "lan")
        self.assertEqual((6, True), (verdict.count, verdict.is_shut_out))
        self.assertEqual("<Reporter 0 on their way>", repr(worker.reporter))

    def test_a_worker_that_hangs_is_told_the_last_state_once(self) -> None:
        first, second, _ = self.workers
        second.carry()
        for _ in range(50):
            for key in ("a", "b"):
                first.failed(key)
                first.carry()
        waiting = second.theirs.transport.value().count(b"\n")
        self.assertEqual(1, waiting)
        self.carry_all()
        self.assertEqual(([50] * 3, [50] * 3), (self.counts("a"), self.counts("b")))

    def test_a_worker_that_is_gone_is_told_nothing(self) -> None:
        first = self.workers[0]
        asked: list[Sequence[object]] = []

        def ask(*words: object) -> "Deferred[Any]":
            asked.append(words)
            return fail(Gone())

        self.book.open_for(5, lambda *_: None, ask)
        for _ in range(2):
            first.failed("a")
            self.carry_all()
        self.assertEqual(2, len(asked))
        self.book.close_for(5)
        first.failed("a")
        self.carry_all()
        self.assertEqual(2, len(asked))

    def test_nobody_can_authenticate_and_then_again(self) -> None:
        for _ in range(6):
            self.workers[0].failed("a")
        self.carry_all()
        self.book.use(None)
        self.workers[1].failed("a")  # a session that goes on under former settings
        self.carry_all()
        self.assertEqual([7, 7, 7], self.counts())
        self.book.use(Limits(1.0, 10.0, 8, 900.0))
        self.assertEqual(0, self.book.status()["shut_out_addresses"])

    def test_the_book_is_bounded(self) -> None:
        self.patch(failures_module, "MAX_ADDRESSES", 3)
        for key in "abcdefg":
            self.workers[0].failed(key)
        self.carry_all()
        self.assertEqual([3, 3, 3], [len(worker.failures) for worker in self.workers])
