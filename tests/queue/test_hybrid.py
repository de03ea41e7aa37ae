"""Hybrid delivery: what the client is told, what is stored, what the log says; each outcome."""

from twisted.internet.defer import Deferred, fail
from twisted.trial.unittest import SynchronousTestCase

from relay.mail.outcome import Attempt
from relay.notices import Accepted
from relay.queue.store import NewMessage, StoreFailed
from tests.queue.scripted import NO, Bench, delayed, failed, relayed


class HybridCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.bench = Bench()
        self.inserted: list[NewMessage] = []
        self.is_store_well = True
        insert = self.bench.store.insert

        def spied(new: NewMessage) -> Deferred[None]:
            if not self.is_store_well:
                return fail(StoreFailed("disk full"))
            self.inserted.append(new)
            return insert(new)

        self.bench.store.insert = spied  # type: ignore[method-assign]

    def delivery(self) -> str:
        (accepted,) = [n for n in self.bench.notices if isinstance(n, Accepted) and n.reverse_path]
        return accepted.delivery

    def in_hand(self) -> object:
        return self.bench.manager.status()["in_hand"]


class AtOnceTests(HybridCase):
    """All attempts end while the client waits."""

    def test_accepted_upstream_nothing_is_written(self) -> None:
        trial = self.bench.attempt("x@a.example", "y@b.example")
        self.bench.deliverer.end()
        self.assertNoResult(trial.answer)
        self.bench.deliverer.end()
        self.assertIsNone(self.successResultOf(trial.answer))
        self.assertEqual([], self.inserted)
        told = ["Accepted", "Attempted relayed", "Attempted relayed", "Removed done"]
        self.assertEqual(told, self.bench.told())
        self.assertEqual("hybrid", self.delivery())
        self.assertEqual((0, 1), (self.in_hand(), len(self.bench.discarded)))

    def test_all_refused_the_client_is_told_and_nobody_else(self) -> None:
        trial = self.bench.attempt("x@a.example")
        self.bench.deliverer.end(x=failed())
        self.assertEqual(NO, self.successResultOf(trial.answer))
        self.assertEqual([], self.inserted)
        self.assertEqual(["Attempted failed"], self.bench.told())
        self.assertEqual((0, 1), (self.in_hand(), len(self.bench.discarded)))

    def test_some_refused_their_dsn_is_committed_first(self) -> None:
        trial = self.bench.attempt("x@a.example", "y@a.example")
        self.bench.deliverer.end(y=failed())
        self.assertIsNone(self.successResultOf(trial.answer))
        (dsn,) = self.inserted
        self.assertEqual("", dsn.message.envelope.reverse_path)
        self.assertIn("Reported failed", self.bench.told())
        self.assertIn("Removed failed", self.bench.told())

    def test_success_that_is_to_be_reported_is_committed_first(self) -> None:
        trial = self.bench.attempt("x@a.example", notify="SUCCESS")
        self.is_store_well = False
        self.bench.deliverer.end()
        self.failureResultOf(trial.answer, StoreFailed)
        self.assertEqual(["Attempted relayed"], self.bench.told())
        self.assertEqual(0, self.in_hand())

    def test_next_hops_disagree_all_is_one_transaction(self) -> None:
        trial = self.bench.attempt("x@a.example", "y@a.example", "z@b.example")
        self.bench.deliverer.end(x=relayed(), y=delayed())
        self.bench.deliverer.end(z=failed())
        self.assertIsNone(self.successResultOf(trial.answer))
        (new,) = self.inserted
        self.assertEqual(1, sum(len(s.reports) for s in new.settlements))
        states = {("x@a.example", "relayed"), ("y@a.example", "waiting"), ("z@b.example", "failed")}
        self.assertEqual(states, set(self.bench.listed()[new.message.queue_id]))
        self.assertEqual("store", self.delivery())
        self.assertEqual([], self.bench.discarded)

    def test_what_was_relayed_is_not_sent_again(self) -> None:
        self.bench.attempt("x@a.example", "y@a.example")
        self.bench.deliverer.end(y=delayed())
        self.assertEqual([], self.bench.deliverer.running)
        self.bench.clock.advance(70)
        ((_, _, envelope, _),) = self.bench.deliverer.running
        self.assertEqual(["y@a.example"], [r.forward_path for r in envelope.recipients])

    def test_no_host_the_lane_backs_off_and_the_next_is_stored_untried(self) -> None:
        first = self.bench.attempt("x@a.example")
        self.bench.deliverer.fail_site()
        self.assertIsNone(self.successResultOf(first.answer))
        second = self.bench.attempt("x@a.example")
        self.assertIsNone(self.successResultOf(second.answer))
        self.assertEqual(([], 2), (self.bench.deliverer.running, len(self.inserted)))

    def test_withdrawn_by_the_stop_it_is_stored_untried(self) -> None:
        trial = self.bench.attempt("x@a.example")
        stopped = self.bench.manager.stop()
        self.assertNoResult(stopped)
        self.bench.deliverer.end(Attempt(is_withdrawn=True))
        self.assertIsNone(self.successResultOf(trial.answer))
        self.assertEqual((), self.inserted[0].settlements)
        self.successResultOf(stopped)


class TooLongTests(HybridCase):
    """`hybrid_wait` ends while an attempt runs."""

    def test_it_is_stored_in_hand_and_settled_by_that_attempt(self) -> None:
        trial = self.bench.attempt("x@a.example")
        self.bench.clock.advance(30)
        self.assertIsNone(self.successResultOf(trial.answer))
        self.assertEqual(("a",), self.inserted[0].in_hand)
        self.bench.deliverer.end()
        self.assertEqual({}, self.bench.listed())
        self.assertEqual(["Accepted", "Attempted relayed", "Removed done"], self.bench.told())
        self.assertEqual(("store", 0), (self.delivery(), self.in_hand()))

    def test_no_second_attempt_meanwhile(self) -> None:
        self.bench.attempt("x@a.example")
        self.bench.clock.advance(30)
        self.bench.manager.poke("a")
        self.bench.clock.advance(100)
        self.assertEqual(1, len(self.bench.deliverer.running))

    def test_the_store_fails_the_client_is_not_told_250(self) -> None:
        trial = self.bench.attempt("x@a.example")
        self.is_store_well = False
        self.bench.clock.advance(30)
        self.failureResultOf(trial.answer, StoreFailed)
        self.bench.deliverer.end()
        self.assertEqual(["Attempted relayed"], self.bench.told())
        self.assertEqual((0, 1), (self.in_hand(), len(self.bench.discarded)))


class GoneTests(HybridCase):
    """The client leaves while it waits."""

    def test_it_leaves_nothing_behind(self) -> None:
        trial = self.bench.attempt("x@a.example", "y@b.example")
        self.bench.deliverer.end()
        trial.client_left()
        self.assertEqual([], self.bench.discarded)  # the other attempt still reads it
        self.bench.deliverer.end(y=delayed())
        self.bench.clock.advance(100)
        self.assertEqual(["Attempted relayed"], self.bench.told())
        self.assertEqual(([], {}), (self.inserted, self.bench.listed()))
        self.assertEqual((0, 1), (self.in_hand(), len(self.bench.discarded)))


class UntriedTests(HybridCase):
    """No attempt would help, or others come first."""

    def test_a_held_lane(self) -> None:
        lane = self.bench.manager.lane("b")
        assert lane is not None
        lane.is_held = True
        trial = self.bench.attempt("x@a.example", "y@b.example")
        self.assertIsNone(self.successResultOf(trial.answer))
        self.assertEqual(1, len(self.inserted))

    def test_a_full_lane(self) -> None:
        for _ in range(8):
            self.bench.attempt("x@a.example")
        self.assertEqual([], self.inserted)
        trial = self.bench.attempt("x@a.example")
        self.assertIsNone(self.successResultOf(trial.answer))
        self.assertEqual((8, 1), (len(self.bench.deliverer.running), len(self.inserted)))
