"""The queue at work on a store in memory, its deliverer and its clock in the test's hands."""

from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from relay.mail.outcome import Attempt, SiteFailure
from relay.mail.reply import MAX_BRIEF, reply
from relay.notices import Alarm, AlarmOver, Attempted
from relay.queue.lane_saver import RETRY
from relay.queue.memory import MemoryStore
from relay.queue.schedule import Terms
from relay.queue.store import Claim, NewMessage, Selection, Settlement, StoreFailed
from tests.queue.scripted import Bench, delayed, failed


class SickStore(MemoryStore):
    """Fails to record while `is_sick`; lanes wait in `saves` while it is a list."""

    is_sick = is_damaged = False
    saves: list[Deferred[None]] | None = None

    def claim(self, lane: str, now: float, limit: int) -> Deferred[Claim]:
        if self.is_damaged:
            return fail(StoreFailed("queue.db is damaged"))
        return super().claim(lane, now, limit)

    def insert(self, new: NewMessage) -> Deferred[None]:
        return fail(StoreFailed("disk full")) if self.is_sick else super().insert(new)

    def settle(self, settlement: Settlement) -> Deferred:
        return fail(StoreFailed("disk full")) if self.is_sick else super().settle(settlement)

    def save_lane(self, state) -> Deferred[None]:
        if self.saves is not None:
            self.saves.append(Deferred())
            return self.saves[-1]
        return fail(StoreFailed("disk full")) if self.is_sick else super().save_lane(state)


class SlowStore(MemoryStore):
    """Leaves to the test what stands in `claims` and `inserts`, once they are lists."""

    claims: list[tuple[Deferred[Claim], tuple[str, float, int]]] | None = None
    inserts: list[Deferred[None]] | None = None

    def claim(self, lane: str, now: float, limit: int) -> Deferred[Claim]:
        if self.claims is None:
            return super().claim(lane, now, limit)
        self.claims.append((Deferred(), (lane, now, limit)))
        return self.claims[-1][0]

    def insert(self, new: NewMessage) -> Deferred[None]:
        if self.inserts is None:
            return super().insert(new)
        self.inserts.append(Deferred())
        return self.inserts[-1]


class HappyTests(SynchronousTestCase):
    def test_accepted_attempted_relayed_removed(self) -> None:
        bench = Bench()
        self.successResultOf(bench.accept("x@a.example"))
        bench.deliverer.end()
        self.assertEqual(["Accepted", "Attempted relayed", "Removed done"], bench.told())
        self.assertEqual({}, bench.listed())

    def test_one_attempt_for_each_next_hop(self) -> None:
        bench = Bench()
        bench.accept("x@a.example", "y@b.example", "z@a.example")
        shown = [
            (lane, [r.forward_path for r in envelope.recipients])
            for lane, _, envelope, _ in bench.deliverer.running
        ]
        self.assertEqual([("a", ["x@a.example", "z@a.example"]), ("b", ["y@b.example"])], shown)
        bench.deliverer.end()
        self.assertNotIn("Removed done", bench.told())
        bench.deliverer.end()
        self.assertEqual("Removed done", bench.told()[-1])

    def test_removed_tells_of_a_failure_on_any_lane(self) -> None:
        bench = Bench()
        bench.accept("x@a.example", "y@b.example", notify="NEVER")
        bench.deliverer.end(x=failed())
        bench.deliverer.end()
        self.assertEqual("Removed failed", bench.told()[-1])

    def test_what_is_beyond_the_window_waits_in_the_store_and_follows(self) -> None:
        bench = Bench(max_in_hand=4)
        for _ in range(10):
            bench.accept("x@a.example")
        self.assertEqual(4, len(bench.deliverer.running))
        for done in range(10):
            self.assertTrue(bench.deliverer.running, f"nothing in hand after {done}")
            self.assertLessEqual(len(bench.deliverer.running), 4)
            bench.deliverer.end()
        self.assertEqual({}, bench.listed())


class TroubleTests(SynchronousTestCase):
    def test_a_delayed_recipient_is_tried_again_alone(self) -> None:
        bench = Bench()
        bench.accept("x@a.example", "y@a.example")
        bench.deliverer.end(y=delayed())
        self.assertEqual([], bench.deliverer.running)
        bench.clock.advance(70.0)
        [(_, _, envelope, _)] = bench.deliverer.running
        self.assertEqual(["y@a.example"], [r.forward_path for r in envelope.recipients])
        bench.deliverer.end()
        self.assertEqual("Removed done", bench.told()[-1])

    def test_a_refused_recipient_is_reported_to_the_sender(self) -> None:
        bench = Bench()
        bench.accept("x@a.example", "y@a.example")
        bench.deliverer.end(x=failed())
        self.assertIn("Reported failed", bench.told())
        [(lane, _, envelope, _)] = bench.deliverer.running
        self.assertEqual(("b", ""), (lane, envelope.reverse_path))
        self.assertEqual(["from@b.example"], [r.forward_path for r in envelope.recipients])

    def test_reports_of_mail_that_demands_tls_demand_it_too(self) -> None:
        """And return its header alone (RFC 8689 5)."""
        for requires_tls in (False, True):
            bench = Bench()
            bench.accept(
                "x@a.example", reverse_path="from@nowhere.example", requires_tls=requires_tls
            )
            bench.deliverer.end(x=failed())
            (work,) = self.successResultOf(bench.store.works(list(bench.listed())))
            self.assertEqual(requires_tls, work.message.envelope.requires_tls)
            content = b"".join(work.message.content.chunks())
            self.assertEqual(requires_tls, b"text/rfc822-headers" in content)

    def test_a_null_reverse_path_gets_no_report(self) -> None:
        bench = Bench()
        bench.accept("x@a.example", reverse_path="")
        bench.deliverer.end(x=failed())
        self.assertEqual("Removed undeliverable", bench.told()[-1])
        self.assertEqual({}, bench.listed())

    def test_but_the_postmaster_is_told_once_and_no_more(self) -> None:
        bench = Bench(postmaster="pm@b.example")
        bench.accept("x@a.example", reverse_path="")
        bench.deliverer.end(x=failed())
        self.assertEqual(1, len(bench.deliverer.running))
        bench.deliverer.end(pm=failed())
        self.assertEqual([], bench.deliverer.running)
        self.assertEqual({}, bench.listed())

    def test_never_means_never(self) -> None:
        bench = Bench()
        bench.accept("x@a.example", notify="NEVER")
        bench.deliverer.end(x=failed())
        self.assertEqual("Removed failed", bench.told()[-1])
        self.assertEqual([], bench.deliverer.running)

    def test_success_is_reported_where_it_was_asked_for(self) -> None:
        bench = Bench()
        bench.accept("x@a.example", notify="SUCCESS")
        bench.deliverer.end()
        self.assertIn("Reported relayed", bench.told())

    def test_a_dsn_without_a_route_is_kept_with_an_alarm(self) -> None:
        bench = Bench()
        bench.accept("x@a.example", reverse_path="from@nowhere.example")
        bench.deliverer.end(x=failed())
        self.assertTrue(any(isinstance(n, Alarm) for n in bench.notices))
        self.assertEqual([[("from@nowhere.example", "waiting")]], list(bench.listed().values()))

    def test_a_dead_lane_is_charged_once_and_recovers_by_one_probe(self) -> None:
        bench = Bench()
        for _ in range(5):
            bench.accept("x@a.example")
        for _ in range(5):
            bench.deliverer.fail_site()
        lane = bench.manager.lane("a")
        assert lane is not None
        self.assertEqual(1, lane.attempt)
        bench.accept("late@a.example")
        self.assertEqual([], bench.deliverer.running)
        bench.accept("x@b.example")
        self.assertEqual(["b"], [lane for lane, *_ in bench.deliverer.running])
        bench.deliverer.end()
        bench.clock.advance(70.0)
        self.assertEqual(1, len(bench.deliverer.running))
        bench.deliverer.end()
        for _ in range(5):
            bench.deliverer.end()
        self.assertEqual({}, bench.listed())

    def test_a_defect_in_delivery_delays_the_mail(self) -> None:
        bench = Bench()
        bench.accept("x@a.example")
        *_, ended = bench.deliverer.running.pop()
        ended(Failure(RuntimeError("defect")))
        self.assertEqual("Attempted delayed", bench.told()[-1])
        self.assertEqual(1, len(self.flushLoggedErrors(RuntimeError)))

    def test_a_defect_behind_the_commit_is_no_refusal(self) -> None:
        def broken(_: object) -> None:
            raise RuntimeError("defect")

        bench = Bench()
        bench.manager._observe = broken
        self.assertIsNone(self.successResultOf(bench.accept("x@a.example")))
        self.assertEqual(1, len(bench.listed()))
        self.assertEqual(1, len(self.flushLoggedErrors(RuntimeError)))

    def test_a_delivery_that_breaks_before_it_began_delays_the_mail(self) -> None:
        def broken(*_: object) -> None:
            raise RuntimeError("defect")

        bench = Bench()
        bench.deliverer.deliver = broken  # type: ignore[method-assign]
        self.assertIsNone(self.successResultOf(bench.accept("x@a.example")))
        self.assertEqual("Attempted delayed", bench.told()[-1])
        self.assertEqual(0, bench.manager.status()["in_hand"])
        self.assertEqual(1, len(self.flushLoggedErrors(RuntimeError)))


class SickStoreTests(SynchronousTestCase):
    def test_a_defect_in_reporting_delays_what_failed_and_repeats_nothing(self) -> None:
        class Broken(Bench):
            @staticmethod
            def lane_for(forward_path: str, reverse_path: str = "", listener: str = "") -> str:
                return {"a.example": "a"}[forward_path.partition("@")[2]]

        bench = Broken()
        bench.accept("x@a.example", "y@a.example")
        bench.deliverer.end(x=failed())
        self.assertEqual(["Accepted", "Attempted delayed", "Attempted relayed"], bench.told())
        self.assertEqual(1, len(self.flushLoggedErrors(KeyError)))
        bench.clock.advance(70.0)
        [(_, _, envelope, _)] = bench.deliverer.running
        self.assertEqual(["x@a.example"], [r.forward_path for r in envelope.recipients])

    def test_what_cannot_be_committed_is_not_accepted(self) -> None:
        store = SickStore()
        bench = Bench(store)
        store.is_sick = True
        self.failureResultOf(bench.accept("x@a.example"), StoreFailed)
        self.assertEqual([], bench.told())
        self.assertEqual([], bench.deliverer.running)
        store.is_sick = False
        self.successResultOf(bench.accept("x@a.example"))

    def test_outcomes_that_cannot_be_recorded_stop_delivery_until_they_can(self) -> None:
        store = SickStore()
        bench = Bench(store)
        bench.accept("x@a.example")
        store.is_sick = True
        bench.deliverer.end()
        self.assertFalse(bench.manager.is_recording)
        self.assertNotIn("Removed done", bench.told())
        self.failureResultOf(bench.accept("y@a.example"), StoreFailed)
        bench.clock.pump([1.0] * 5)
        store.is_sick = False
        bench.clock.advance(1.0)
        self.assertTrue(bench.manager.is_recording)
        self.assertTrue(any(isinstance(n, AlarmOver) for n in bench.notices))
        self.assertEqual(1, sum(isinstance(n, Attempted) for n in bench.notices))
        self.assertEqual("Removed done", bench.told()[-1])
        self.successResultOf(bench.accept("y@a.example"))

    def test_a_stop_records_what_waits_where_the_store_is_well_again(self) -> None:
        for is_sick in (False, True):
            store = SickStore()
            bench = Bench(store)
            bench.accept("x@a.example")
            store.is_sick = True
            bench.deliverer.end()
            bench.clock.advance(0.5)
            store.is_sick = is_sick
            stopped = bench.manager.stop()
            self.assertEqual(not is_sick, "Removed done" in bench.told())
            self.successResultOf(stopped)

    def test_a_stop_waits_to_hear_whether_the_store_is_well_again(self) -> None:
        store = SickStore()
        bench = Bench(store)
        bench.accept("x@a.example")
        store.is_sick = True
        bench.deliverer.end()
        store.is_sick, store.saves = False, []
        stopped = bench.manager.stop()
        self.assertNoResult(stopped)
        [probe] = store.saves
        probe.callback(None)
        self.assertEqual("Removed done", bench.told()[-1])
        self.successResultOf(stopped)

    def test_a_stop_leaves_no_lane_to_be_stored(self) -> None:
        store = SickStore()
        bench = Bench(store)
        bench.accept("x@a.example")
        store.is_sick = True
        bench.deliverer.fail_site()
        again = bench.manager._lane_saver._again
        due = [call for call in bench.clock.getDelayedCalls() if call.func == again]
        self.assertEqual(1, len(due))
        bench.manager.stop()
        self.assertFalse(due[0].active())

    def test_what_is_kept_of_a_lanes_trouble_is_bounded(self) -> None:
        bench = Bench()
        bench.accept("x@a.example")
        endless = reply(451, "4.3.0", *["x" * 2000] * 8)
        bench.deliverer.end(Attempt({}, SiteFailure(endless, "down[192.0.2.1]:25")))
        self.assertEqual(
            len("down[192.0.2.1]:25: ") + MAX_BRIEF, len(bench.manager.trouble_of("a"))
        )

    def test_a_lane_that_could_not_be_stored_is_once_the_store_is_well(self) -> None:
        """As it is by then; told of once."""
        store = SickStore()
        bench = Bench(store)
        bench.accept("x@a.example")
        store.is_sick = True
        bench.deliverer.fail_site()
        bench.clock.pump([1.0] * 20)
        store.is_sick = False
        bench.clock.advance(RETRY)
        [lane] = [lane for lane in self.successResultOf(store.lanes()) if lane.name == "a"]
        self.assertEqual(bench.manager.lane("a").state().attempt, lane.attempt)
        self.assertEqual("<LaneSaver 0 to be saved>", repr(bench.manager._lane_saver))

    def test_a_lane_that_is_gone_by_then_stays_as_the_store_has_it(self) -> None:
        """Held, say: it is when it comes back."""
        store = SickStore()
        bench = Bench(store)
        bench.accept("x@a.example")
        lane = bench.manager.lane("a")
        assert lane is not None
        lane.is_held = True
        store.save_lane(lane.state())
        store.is_sick = True
        bench.deliverer.fail_site()
        bench.manager.change(Terms((60.0,), None, 7200.0), ("b",), (), 8, {})
        store.is_sick = False
        bench.clock.pump([1.0] * 10)
        [stored] = [each for each in self.successResultOf(store.lanes()) if each.name == "a"]
        self.assertTrue(stored.is_held)
        self.assertEqual("<LaneSaver 0 to be saved>", repr(bench.manager._lane_saver))

    @staticmethod
    def _with_mail_that_cannot_be_read() -> tuple[SickStore, Bench]:
        store = SickStore()
        bench = Bench(store)
        bench.accept("x@a.example")
        bench.deliverer.end(x=delayed())
        store.is_damaged = True
        bench.clock.pump([1.0] * 75)
        return store, bench

    def test_mail_that_cannot_be_read_is_told_of_once_and_tried_again(self) -> None:
        store, bench = self._with_mail_that_cannot_be_read()
        told = [notice for notice in bench.notices if isinstance(notice, Alarm)]
        self.assertEqual([Alarm("mail for a", "queue.db is damaged")], told)
        store.is_damaged = False
        bench.clock.advance(1.0)
        self.assertIn(AlarmOver("mail for a"), bench.notices)
        self.assertEqual(1, len(bench.deliverer.running))

    def test_nor_is_it_of_interest_once_the_lane_is_gone(self) -> None:
        _, bench = self._with_mail_that_cannot_be_read()
        bench.manager.change(Terms((60.0,), None, 3600.0), ("b",), (), 8, {})
        self.assertIn(AlarmOver("mail for a"), bench.notices)


class StopTests(SynchronousTestCase):
    def test_stop_waits_for_what_is_under_way_and_takes_nothing_more(self) -> None:
        bench = Bench()
        bench.accept("x@a.example")
        stopped = bench.manager.stop()
        self.assertNoResult(stopped)
        self.successResultOf(bench.accept("y@a.example"))
        self.assertEqual(1, len(bench.deliverer.running))
        bench.deliverer.end()
        self.successResultOf(stopped)
        self.assertEqual([[("y@a.example", "waiting")]], list(bench.listed().values()))

    def test_stop_with_nothing_under_way_is_at_once(self) -> None:
        self.successResultOf(Bench().manager.stop())


class SweepTests(SynchronousTestCase):
    def test_what_was_still_being_claimed_at_the_stop_is_not_begun(self) -> None:
        """Nobody could record its outcome: it would be delivered again."""
        store = SlowStore()
        bench = Bench(store, max_in_hand=1)
        bench.accept("x@a.example")
        bench.accept("y@a.example")
        store.claims = []
        bench.deliverer.end()
        [(claiming, arguments)] = store.claims
        self.successResultOf(bench.manager.stop())
        MemoryStore.claim(store, *arguments).chainDeferred(claiming)
        self.assertEqual([], bench.deliverer.running)

    def test_what_is_being_claimed_has_its_room(self) -> None:
        """What comes meanwhile waits behind it: there is never more in hand than may be."""
        store = SlowStore()
        bench = Bench(store, max_in_hand=2)
        for name in "vwxy":
            bench.accept(f"{name}@a.example")
        store.claims = []
        bench.deliverer.end()
        bench.deliverer.end()
        [(claiming, arguments)] = store.claims
        self.assertEqual(1, arguments[2])
        bench.accept("z@a.example")
        bench.accept("z@a.example")
        MemoryStore.claim(store, *arguments).chainDeferred(claiming)
        self.assertLessEqual(len(bench.deliverer.running), 2)
        store.claims = None
        while bench.deliverer.running:
            self.assertLessEqual(len(bench.deliverer.running), 2)
            bench.deliverer.end()
        self.assertEqual({}, bench.listed())

    def test_room_that_was_kept_for_what_was_not_committed_is_used(self) -> None:
        store = SlowStore()
        bench = Bench(store, max_in_hand=1)
        bench.accept("x@a.example")
        bench.deliverer.end(x=delayed())
        store.inserts = []
        refused = bench.accept("y@a.example")
        bench.clock.advance(70.0)
        self.assertEqual([], bench.deliverer.running)
        store.inserts[0].errback(StoreFailed("disk full"))
        self.failureResultOf(refused, StoreFailed)
        self.assertEqual(1, len(bench.deliverer.running))

    def test_a_late_message_is_warned_about_once(self) -> None:
        bench = Bench()
        bench.sweep.start()
        bench.accept("x@a.example")
        bench.deliverer.fail_site()
        for _ in range(30):
            bench.clock.advance(60.0)
            while bench.deliverer.running:
                bench.deliverer.end(Attempt({r.id: delayed() for r in self._owed(bench)}))
        bench.sweep.stop()
        self.assertEqual(1, bench.told().count("Reported delayed"))

    def _owed(self, bench: Bench) -> tuple:
        lane, _, envelope, _ = bench.deliverer.running[0]
        return envelope.recipients if lane == "a" else ()

    def test_a_message_for_a_dead_lane_expires_with_a_report(self) -> None:
        bench = Bench(warn_after=None)
        bench.sweep.start()
        bench.accept("x@a.example")
        while bench.clock.seconds() < 1_900_000_000.0 + 3700.0:
            while bench.deliverer.running and bench.deliverer.running[0][0] == "a":
                bench.deliverer.fail_site()
            bench.clock.advance(30.0)
        bench.sweep.stop()
        self.assertIn("Removed expired", bench.told())
        self.assertEqual(["b"], [lane for lane, *_ in bench.deliverer.running])

    def test_a_refused_login_lets_nothing_expire_and_has_one_attempt_after_it(self) -> None:
        """Warnings are sent as ever."""
        bench = Bench()
        bench.sweep.start()
        bench.accept("x@a.example", "y@a.example")
        while bench.clock.seconds() < 1_900_000_000.0 + 5000.0:
            bench.clock.advance(30.0)
            while bench.deliverer.running:
                is_warning = bench.deliverer.running[0][0] == "b"
                (bench.deliverer.end if is_warning else bench.deliverer.refuse_login)()
        self.assertTrue(bench.manager.lane("a").is_paused)
        [state] = [s for s in self.successResultOf(bench.store.lanes()) if s.name == "a"]
        self.assertTrue(state.is_paused)
        self.assertEqual(1, bench.told().count("Reported delayed"))
        self.assertNotIn("Removed expired", bench.told())
        bench.manager.poke("a")
        bench.deliverer.end(x=delayed())
        self.assertFalse(bench.manager.lane("a").is_paused)
        bench.clock.advance(100.0)
        bench.sweep.stop()
        self.assertIn("Removed expired", bench.told())

    def test_a_report_of_expiry_tells_the_last_reply(self) -> None:
        bench = Bench(warn_after=None)
        bench.sweep.start()
        bench.accept("x@a.example")
        while bench.clock.seconds() < 1_900_000_000.0 + 3700.0:
            while bench.deliverer.running and bench.deliverer.running[0][0] == "a":
                bench.deliverer.end(x=delayed())
            bench.clock.advance(30.0)
        bench.sweep.stop()
        [report] = self.successResultOf(bench.store.find(Selection(), "", 10))
        bench.deliverer.fail_site()
        [work] = self.successResultOf(bench.store.works([report.queue_id]))
        content = b"".join(work.message.content.chunks())
        self.assertIn(b"greylisted", content)
        self.assertNotIn(b"could not be reached", content)
        self.assertNotIn(b"Last-Attempt-Date", content)  # it was not now

    def test_what_grew_old_while_the_relay_was_down_gets_its_attempt(self) -> None:
        bench = Bench(warn_after=None, max_in_hand=0)
        bench.accept("x@a.example")
        bench.clock.advance(5000.0)
        bench.sweep.start()
        bench.sweep.stop()
        self.assertNotIn("Removed expired", bench.told())

    def test_held_during_its_last_attempt_it_does_not_expire(self) -> None:
        bench = Bench(warn_after=None)
        bench.accept("x@a.example")
        bench.clock.advance(3590.0)
        [queue_id] = bench.listed()
        self.successResultOf(bench.control.hold([queue_id]))
        bench.clock.advance(20.0)
        bench.deliverer.end(x=delayed())
        bench.sweep.start()
        bench.clock.advance(1000.0)
        bench.sweep.stop()
        self.assertEqual([queue_id], list(bench.listed()))


class OperatorTests(SynchronousTestCase):
    def test_held_mail_waits_and_goes_on_when_released(self) -> None:
        bench = Bench()
        bench.accept("x@a.example")
        [queue_id] = bench.listed()
        self.assertEqual([queue_id], self.successResultOf(bench.control.hold([queue_id])))
        bench.deliverer.end(x=delayed())
        bench.clock.advance(1000.0)
        self.assertEqual([], bench.deliverer.running)
        self.successResultOf(bench.control.release([queue_id]))
        self.assertEqual(1, len(bench.deliverer.running))

    def test_retry_probes_a_dead_lane_at_once(self) -> None:
        bench = Bench()
        bench.accept("x@a.example")
        bench.deliverer.fail_site()
        [queue_id] = bench.listed()
        self.successResultOf(bench.control.retry([queue_id]))
        self.assertEqual(1, len(bench.deliverer.running))
        self.assertEqual(["a"], bench.deliverer.forgotten)

    def test_removed_while_in_hand_no_report_is_made(self) -> None:
        bench = Bench()
        bench.accept("x@a.example")
        [queue_id] = bench.listed()
        self.successResultOf(bench.control.remove([queue_id]))
        bench.deliverer.end(x=failed())
        self.assertEqual(["Accepted", "Removed operator"], bench.told())
        self.assertEqual({}, bench.listed())

    def test_removed_while_in_hand_what_was_relayed_is_told(self) -> None:
        bench = Bench()
        bench.accept("x@a.example", "y@a.example")
        [queue_id] = bench.listed()
        self.successResultOf(bench.control.remove([queue_id]))
        bench.deliverer.end(x=failed())
        self.assertEqual(["Accepted", "Removed operator", "Attempted relayed"], bench.told())

    def test_a_held_lane_takes_mail_and_sends_none(self) -> None:
        bench = Bench()
        self.assertTrue(self.successResultOf(bench.control.hold_lane("a")))
        self.successResultOf(bench.accept("x@a.example"))
        self.assertEqual([], bench.deliverer.running)
        self.successResultOf(bench.control.release_lane("a"))
        self.assertEqual(1, len(bench.deliverer.running))

    def test_an_unknown_lane_is_told(self) -> None:
        self.assertFalse(self.successResultOf(Bench().control.hold_lane("nowhere")))


class DoneTests(SynchronousTestCase):
    def test_all_is_counted_back_to_zero(self) -> None:
        bench = Bench()
        for _ in range(3):
            bench.accept("x@a.example", "y@b.example")
        while bench.deliverer.running:
            bench.deliverer.end()
        status = bench.manager.status()
        self.assertEqual((0, 0), (status["in_hand"], status["octets_in_hand"]))
