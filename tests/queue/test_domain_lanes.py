"""A queue whose mail goes by domain: lanes come with the mail and go with it."""

from random import Random

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from relay.mail.reply import Reply
from relay.queue.manager import QueueManager
from relay.queue.schedule import Terms
from relay.queue.store import LaneState
from tests.queue.scripted import Bench, delayed


class DomainBench(Bench):
    """The lane of a recipient is "mx:" and its domain."""

    def __init__(self) -> None:
        super().__init__()
        self.build()

    def build(self) -> None:
        """A manager that knows "mx"; built anew as after a restart."""
        self.manager = QueueManager(
            self.store,
            self.deliverer,
            self.clock,
            Terms((60.0, 300.0), None, 3600.0),
            self.sweep._reports,
            self.notices.append,
            ("a",),
            Random(1),
            8,
            {"mx"},
        )
        self.sweep._manager = self.control._manager = self.hybrid.manager = self.manager

    @staticmethod
    def lane_for(forward_path: str, reverse_path: str = "", listener: str = "") -> str | None:
        return f"mx:{forward_path.partition('@')[2]}"

    def made(self) -> list[str]:
        return [lane.name for lane in self.manager.lanes if not lane.is_lasting]

    def stored(self) -> list[LaneState]:
        found: list[LaneState] = []
        self.store.lanes().addCallback(found.extend)
        return found


class DomainLanesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.bench = DomainBench()

    def accept(self, *paths: str) -> "Deferred[Reply | None]":
        return self.bench.accept(*paths)

    def test_a_lane_for_each_domain_while_mail_is_there(self) -> None:
        self.accept("x@one.example", "y@two.example", "z@one.example")
        self.assertEqual(["mx:one.example", "mx:two.example"], self.bench.made())
        self.bench.deliverer.end()
        self.assertEqual(["mx:two.example"], self.bench.made())
        self.bench.deliverer.end()
        self.assertEqual([], self.bench.made())
        self.assertEqual({}, self.bench.listed())

    def test_kept_while_mail_waits(self) -> None:
        self.accept("x@one.example")
        self.bench.deliverer.end(x=delayed())
        self.assertEqual(["mx:one.example"], self.bench.made())
        self.bench.clock.advance(70)
        self.bench.deliverer.end()
        self.assertEqual([], self.bench.made())
        self.assertEqual([], self.bench.clock.getDelayedCalls())

    def test_a_failing_domain_delays_no_other(self) -> None:
        self.accept("x@dead.example")
        self.bench.deliverer.fail_site()
        self.accept("x@dead.example")
        self.assertEqual([], self.bench.deliverer.running)
        self.accept("x@living.example")
        self.bench.deliverer.end()
        self.assertEqual(["mx:dead.example"], self.bench.made())

    def test_nothing_is_stored_of_a_domain_once_its_mail_is_gone(self) -> None:
        self.accept("x@dead.example")
        self.bench.deliverer.fail_site()
        self.assertEqual([1], [state.attempt for state in self.bench.stored()])
        self.bench.store.remove(list(self.bench.listed()))
        self.bench.clock.advance(70)  # the lane is looked at, and nothing is there
        self.assertEqual([], self.bench.made())
        self.assertEqual([], self.bench.stored())

    def test_a_recovered_domain_is_forgotten_too(self) -> None:
        self.accept("x@back.example")
        self.bench.deliverer.fail_site()
        self.bench.clock.advance(70)
        self.bench.deliverer.end()
        self.assertEqual([], self.bench.made())
        self.assertEqual([], self.bench.stored())

    def test_an_operators_hold_lasts(self) -> None:
        self.successResultOf(self.bench.control.hold_lane("mx:one.example"))
        self.accept("x@one.example")
        self.assertEqual([], self.bench.deliverer.running)
        self.successResultOf(self.bench.control.release_lane("mx:one.example"))
        self.bench.deliverer.end()
        self.assertEqual([], self.bench.made())

    def test_held_message_released_after_its_lane_was_forgotten(self) -> None:
        self.accept("x@one.example")
        queue_ids = list(self.bench.listed())
        self.successResultOf(self.bench.control.hold(queue_ids))
        self.bench.deliverer.end(x=delayed())
        self.bench.clock.advance(70)
        self.assertEqual([], self.bench.made())
        self.successResultOf(self.bench.control.release(queue_ids))
        self.bench.deliverer.end()
        self.assertEqual({}, self.bench.listed())

    def test_after_a_restart(self) -> None:
        self.accept("x@one.example")
        self.bench.deliverer.end(x=delayed())
        self.bench.build()
        self.bench.manager.start(self.successResultOf(self.bench.store.open()))
        self.bench.clock.advance(70)
        self.bench.deliverer.end()
        self.assertEqual({}, self.bench.listed())
        self.assertEqual([], self.bench.made())

    def test_hybrid(self) -> None:
        trial = self.bench.attempt("x@one.example", "y@two.example")
        self.bench.deliverer.end()
        self.bench.deliverer.end()
        self.assertIsNone(self.successResultOf(trial.answer))
        self.assertEqual([], self.bench.made())
