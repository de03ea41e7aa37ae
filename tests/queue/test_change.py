"""Another config while mail waits and attempts run: lanes come and go, mail finds its way."""

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.trial.unittest import SynchronousTestCase

from relay.mail.outcome import Attempt
from relay.notices import Alarm
from relay.queue.lane_book import EASED
from relay.queue.reroute import PAGE, REST, Reroute
from relay.queue.schedule import Terms
from relay.queue.store import LaneState, Selection, StoreFailed
from tests.queue.scripted import Bench, delayed

TERMS = Terms((60.0,), None, 7200.0)


class ChangeCase(SynchronousTestCase):
    begun = 0

    def setUp(self) -> None:
        self.bench = Bench()
        self.ways = {"a.example": "a", "b.example": "b"}
        self.reroute = Reroute(
            self.bench.store,
            self.bench.manager,
            self.lane_for,
            self.bench.notices.append,
            self.bench.clock,
            self.begin,
            lambda lane: f"{lane}{EASED}" if lane.startswith("easy") else lane,
        )
        self.bench.manager.is_astray = self.reroute.is_astray
        self.bench.manager.when_stray = self.reroute.stray

    def begin(self, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self.under_way = run
        self.begun += 1
        self.moved = Deferred.fromCoroutine(run())

    def lane_for(
        self, forward_path: str, reverse_path: str, listener: str, user: str
    ) -> str | None:
        return self.ways.get(forward_path.partition("@")[2])

    def change(self, *lanes: str, stored: tuple[LaneState, ...] = ()) -> None:
        """As a reload does it."""
        self.bench.manager.change(TERMS, lanes, (), 8, {state.name: state for state in stored})
        states = self.successResultOf(self.bench.store.lanes())
        run = self.reroute.run(states)
        with self.assertRaises(StopIteration):  # nothing here waits for anything
            run.send(None)

    def lanes(self) -> list[str]:
        """Of the running attempts."""
        return [lane for lane, *_ in self.bench.deliverer.running]

    def alarms(self) -> list[str]:
        return [notice.why for notice in self.bench.notices if type(notice) is Alarm]

    def waiting(self, lane: str) -> int:
        states = self.successResultOf(self.bench.store.lanes())
        return sum(state.waiting for state in states if state.name == lane)


class WaitingMailTests(ChangeCase):
    def test_goes_by_the_routes_of_now(self) -> None:
        self.bench.accept("x@a.example")
        self.bench.deliverer.end(x=delayed())
        self.ways["a.example"] = "b"
        self.change("a", "b")
        self.assertEqual(["b"], self.lanes())

    def test_a_page_is_moved_at_once(self) -> None:
        for name in "xyz":
            self.bench.accept(f"{name}@a.example")
            self.bench.deliverer.end(**{name: delayed()})
        self.ways["a.example"] = "b"
        answers: list[Deferred[bool]] = []

        def move(*_: object) -> "Deferred[bool]":
            answers.append(Deferred())
            return answers[-1]

        self.patch(self.bench.store, "move", move)
        states = self.successResultOf(self.bench.store.lanes())
        run = Deferred.fromCoroutine(self.reroute.run(states))
        self.assertEqual(3, len(answers))
        answers[1].errback(StoreFailed("full"))
        self.assertNoResult(run)
        answers[0].callback(True)
        answers[2].callback(True)
        self.failureResultOf(run, StoreFailed)

    def test_a_page_at_a_time_however_many(self) -> None:
        count = 2 * PAGE + 50
        for number in range(count):
            self.bench.accept(f"x{number}@a.example")
        in_hand = len(self.lanes())
        asked: list[int] = []
        find = self.bench.store.find

        def counting(selection: Selection, after: str, limit: int) -> Any:
            asked.append(limit)
            return find(selection, after, limit)

        self.patch(self.bench.store, "find", counting)
        self.ways["a.example"] = "b"
        states = self.successResultOf(self.bench.store.lanes())
        run = Deferred.fromCoroutine(self.reroute.run(states))
        for pages in (1, 2, 3):
            self.assertEqual([PAGE] * pages, asked, "the traffic has its time between two")
            self.bench.clock.advance(REST)
        self.assertEqual([PAGE] * 3, asked, "there can be no more behind a part of a page")
        self.successResultOf(run)
        self.assertEqual((in_hand, count - in_hand), (self.waiting("a"), self.waiting("b")))

    def test_whole_pages_are_not_the_end_of_it(self) -> None:
        for number in range(2 * PAGE):
            self.bench.accept(f"x{number}@a.example")
        states = self.successResultOf(self.bench.store.lanes())
        run = Deferred.fromCoroutine(self.reroute.run(states))
        self.bench.clock.advance(REST)
        self.assertNoResult(run)
        self.bench.clock.advance(REST)
        self.successResultOf(run)

    def test_of_a_next_hop_that_is_gone(self) -> None:
        self.bench.accept("x@a.example")
        self.bench.deliverer.end(x=delayed())
        self.ways["a.example"] = "c"
        self.change("b", "c")
        self.assertEqual(["c"], self.lanes())

    def test_that_waives_tls_does_so_where_it_may(self) -> None:
        lane = "easy:a.example"
        self.ways["a.example"] = lane
        self.change(lane, lane + EASED)
        message, _ = self.bench.message("x@a.example", reverse_path="", notify="")
        self.bench.store_message(message, {lane + EASED: (1,)})
        self.bench.deliverer.end(x=delayed())
        self.change(lane, lane + EASED)
        self.assertEqual((0, 1), (self.waiting(lane), self.waiting(lane + EASED)))
        self.ways["a.example"] = "b"
        self.change("b")
        self.assertEqual(["b"], self.lanes())

    def test_is_kept_where_no_route_is_left(self) -> None:
        self.bench.accept("x@a.example")
        self.bench.deliverer.end(x=delayed())
        del self.ways["a.example"]
        self.change("b")
        self.assertEqual(([], 1), (self.lanes(), self.waiting("a")))
        (why,) = self.alarms()
        self.assertIn("1 messages are kept", why)

    def test_goes_on_where_it_is_while_that_next_hop_is_there(self) -> None:
        self.bench.accept("x@a.example")
        self.bench.deliverer.end(x=delayed())
        del self.ways["a.example"]
        self.change("a", "b")
        self.assertEqual([], self.alarms())
        self.bench.clock.advance(120.0)
        self.assertEqual(["a"], self.lanes())

    def test_a_hold_on_a_lane_that_nobody_knows_is_kept(self) -> None:
        self.bench.store.save_lane(LaneState("gone", 1, is_held=True))
        self.bench.store.save_lane(LaneState("forgotten", 1))
        self.change("a", "b")
        states = {state.name: state for state in self.successResultOf(self.bench.store.lanes())}
        self.assertTrue(states["gone"].is_held)
        self.assertEqual(0, states["forgotten"].attempt if "forgotten" in states else 0)


class NotYetMovedTests(ChangeCase):
    """The routes are others, and what waits was not moved yet, or came too late for that."""

    def test_what_falls_due_is_not_tried_where_it_does_not_belong(self) -> None:
        self.bench.accept("x@a.example")
        self.bench.deliverer.end(x=delayed())
        self.ways["a.example"] = "b"
        self.bench.clock.advance(120.0)
        self.assertEqual((["b"], 0), (self.lanes(), self.waiting("a")))
        [(_, queue_id, *_)] = self.bench.deliverer.running
        [listed] = self.successResultOf(self.bench.store.find(Selection((queue_id,)), "", 1))
        self.assertEqual(1, listed.recipients[0].attempt, "nothing is charged")

    def test_it_is_not_claimed_again_and_again_before_it_is_moved(self) -> None:
        self.bench.accept("x@a.example")
        self.bench.deliverer.end(x=delayed())
        self.ways["a.example"] = "b"
        store, claims = self.bench.store, []
        claim, find = store.claim, store.find
        self.patch(store, "claim", lambda *told: claims.append(told) or claim(*told))
        searching: Deferred[object] = Deferred()
        self.patch(store, "find", lambda *_: searching)
        self.bench.clock.pump([30.0, 30.0, 30.0])
        self.assertLess(len(claims), 3)
        self.patch(store, "find", find)
        find(Selection(), "", 9).chainDeferred(searching)
        self.assertEqual(["b"], self.lanes())

    def test_that_an_operator_removed_meanwhile(self) -> None:
        """It was put back, and is no longer there."""
        self.bench.accept("x@a.example")
        self.bench.store.remove(list(self.bench.listed()))
        self.bench.deliverer.end(Attempt(is_withdrawn=True))
        self.assertEqual(0, self.bench.manager.status()["in_hand"])

    def test_whose_next_hop_went_and_came_back_meanwhile(self) -> None:
        """The lane of that name is another one now: it is the one to know of the mail."""
        self.bench.accept("x@a.example")
        self.change("b")
        self.change("a", "b")
        self.bench.deliverer.end(x=delayed())
        self.bench.clock.advance(120.0)
        self.assertEqual(["a"], self.lanes())

    def test_who_was_named_by_former_routes(self) -> None:
        self.bench.manager.change(TERMS, ("a", "b"), (), 1, {})
        self.bench.accept("x@a.example")
        self.ways["a.example"] = "b"
        self.bench.accept("y@a.example")  # there is no room where it was to go
        self.assertEqual(["a", "b"], self.lanes())

    def test_some_recipients_stay(self) -> None:
        self.bench.accept("x@a.example", "y@c.example", "z@a.example")
        self.bench.deliverer.end(x=delayed(), z=delayed())
        self.ways["a.example"] = "b"
        self.change("a", "b", "c")
        self.assertEqual(["b"], self.lanes())
        [(*_, envelope, _)] = self.bench.deliverer.running
        self.assertEqual([1, 3], [r.id for r in envelope.recipients])


class MailInHandTests(ChangeCase):
    def test_ends_where_it_is_and_waits_where_it_belongs(self) -> None:
        self.bench.accept("x@a.example")
        self.ways["a.example"] = "b"
        self.change("a", "b")
        self.assertEqual(["a"], self.lanes())
        self.bench.deliverer.end(x=delayed())
        self.assertEqual(["b"], self.lanes())

    def test_of_a_next_hop_that_is_gone(self) -> None:
        self.bench.accept("x@a.example")
        self.ways["a.example"] = "b"
        self.change("b")
        self.bench.deliverer.fail_site()
        self.assertEqual(["b"], self.lanes())
        self.assertEqual(0, self.bench.manager.status()["in_hand"] - 1)

    def test_the_store_is_ill_when_it_strays(self) -> None:
        """It is known until it is moved, and begun once."""
        self.bench.accept("x@a.example", "y@a.example")
        self.ways["a.example"] = "b"
        self.change("b")
        store = self.bench.store
        self.patch(store, "find", lambda *_: fail(StoreFailed("disk I/O error")))
        self.bench.deliverer.fail_site()
        self.failureResultOf(self.moved, StoreFailed)
        self.reroute.stray("0")
        self.assertEqual(1, self.begun)
        del store.find
        self.successResultOf(Deferred.fromCoroutine(self.under_way()))
        self.assertEqual(["b"], self.lanes())
        self.assertEqual(0, self.waiting("a"))

    def test_that_was_withdrawn_is_tried_again(self) -> None:
        """Its turn had not come: nothing is charged, nothing told."""
        self.bench.accept("x@a.example")
        self.bench.deliverer.end(Attempt(is_withdrawn=True))
        self.assertEqual((["a"], ["Accepted"]), (self.lanes(), self.bench.told()))
        self.bench.deliverer.end()
        self.assertEqual({}, self.bench.listed())

    def test_in_hybrid_delivery(self) -> None:
        self.bench.attempt("x@a.example")
        self.ways["a.example"] = "b"
        self.change("b")
        self.bench.clock.advance(30.0)
        self.bench.deliverer.end(x=delayed())
        self.assertEqual(["b"], self.lanes())

    def test_hastened_is_what_is_late_there_alone(self) -> None:
        """Its other recipients' times are their own next hop's."""
        self.bench.accept("x@a.example", "y@b.example")
        self.bench.deliverer.end(x=delayed())
        asked: list[list[str]] = []
        retry = self.bench.store.retry
        self.bench.store.retry = lambda ids, now: asked.append(ids) or retry(ids, now)
        for lane, count in (("b", 0), ("a", 1)):
            with self.assertRaises(StopIteration):
                self.reroute.hasten([lane], self.bench.clock.seconds()).send(None)
            self.assertEqual(count, len(asked), lane)


class LaneTests(ChangeCase):
    def test_mail_for_one_that_went_while_it_was_stored(self) -> None:
        message, lanes = self.bench.message("x@a.example", reverse_path="y@b.example", notify="")
        self.ways["a.example"] = "b"
        self.change("b")
        self.bench.store_message(message, lanes)
        self.assertEqual(["b"], self.lanes())

    def test_a_new_one_is_as_the_store_has_it(self) -> None:
        self.change("a", "b", "c", stored=(LaneState("c", 2, 9e9, True, 0, "451 later"),))
        lane = self.bench.manager.lane("c")
        assert lane is not None
        self.assertEqual((2, True), (lane.attempt, lane.is_held))

    def test_one_that_was_failing_is_tried_when_its_upstream_changed(self) -> None:
        self.bench.accept("x@a.example")
        self.bench.accept("y@a.example")
        self.bench.deliverer.fail_site()
        self.bench.manager.next_hop_changed("a")
        self.assertEqual(["a"], self.lanes())  # the old attempt
        self.bench.deliverer.fail_site()
        lane = self.bench.manager.lane("a")
        assert lane is not None
        self.assertEqual((1, 0.0), (lane.attempt, lane.next_attempt_at), "not charged to the new")
        self.assertEqual(["a"], self.lanes())
        self.bench.deliverer.end()
        self.assertEqual(0, lane.attempt)

    def test_mail_of_one_whose_upstream_changed_need_not_wait_for_its_time(self) -> None:
        self.bench.accept("x@a.example")
        self.bench.deliverer.end(x=delayed())
        self.bench.manager.next_hop_changed("a")
        self.assertEqual([], self.lanes())
        run = self.reroute.hasten(["a"], self.bench.clock.seconds())
        with self.assertRaises(StopIteration):
            run.send(None)
        self.assertEqual(["a"], self.lanes())

    def test_the_room_is_another(self) -> None:
        lane = self.bench.manager.lane("a")
        assert lane is not None
        self.bench.manager.change(TERMS, ("a",), (), 3, {})
        self.assertEqual(3, lane.room(0.0))
        self.bench.manager.change(TERMS, ("a",), (), 12, {})
        self.assertEqual(12, lane.room(0.0))

    def test_what_an_old_attempt_finds_says_nothing_of_the_new_upstream(self) -> None:
        self.bench.accept("x@a.example")
        self.bench.manager.next_hop_changed("a")
        self.bench.deliverer.fail_site()
        lane = self.bench.manager.lane("a")
        assert lane is not None
        self.assertEqual((0, ["a"]), (lane.attempt, self.lanes()))

    def test_nothing_more_is_taken_in_hand_of_one_that_is_gone(self) -> None:
        self.bench.manager.change(TERMS, ("a", "b"), (), 1, {})
        self.bench.accept("x@a.example")
        self.bench.accept("y@a.example")
        del self.ways["a.example"]
        self.change("b")
        self.bench.deliverer.end()
        self.assertEqual(([], 1), (self.lanes(), self.waiting("a")))
