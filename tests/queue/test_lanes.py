"""Room, backoff and recovery of a lane."""

from twisted.trial.unittest import SynchronousTestCase

from relay.queue.lanes import Lane
from relay.queue.store import LaneState


def lane(**state: object) -> Lane:
    return Lane(LaneState("next", **state), 8)  # type: ignore[arg-type]


class LaneTests(SynchronousTestCase):
    def test_a_healthy_lane_has_room_for_its_window(self) -> None:
        well = lane()
        self.assertEqual(8, well.room(0.0))
        well.in_hand = 3
        self.assertEqual(5, well.room(0.0))

    def test_a_held_lane_has_none_and_is_not_woken(self) -> None:
        held = lane(is_held=True, waiting=5)
        self.assertEqual(0, held.room(0.0))
        self.assertIsNone(held.wake_at())

    def test_a_failed_lane_waits_then_is_probed_by_one(self) -> None:
        failed = lane()
        self.assertTrue(failed.site_failed(0, 60.0, "refused"))
        self.assertEqual(0, failed.room(59.0))
        self.assertEqual(1, failed.room(60.0))
        failed.in_hand = 1
        self.assertEqual(0, failed.room(61.0))

    def test_a_refused_login_pauses_it_until_a_host_answers_or_fails_otherwise(self) -> None:
        for end in (
            lambda paused: paused.site_answered(paused.generation),
            lambda paused: paused.site_failed(paused.generation, 90.0, "away"),
        ):
            paused = lane()
            paused.site_failed(0, 60.0, "535 no", is_refusal=True)
            self.assertTrue(lane(attempt=1, is_paused=paused.state().is_paused).is_paused)
            self.assertEqual(1, paused.room(60.0))
            end(paused)
            self.assertFalse(paused.state().is_paused)

    def test_what_was_under_way_does_not_charge_it_again(self) -> None:
        failed = lane()
        failed.site_failed(0, 60.0, "refused")
        self.assertFalse(failed.site_failed(0, 999.0, "refused"))
        self.assertEqual((1, 60.0), (failed.attempt, failed.next_attempt_at))

    def test_an_old_success_does_not_end_a_newer_failure(self) -> None:
        failed = lane()
        failed.site_failed(0, 60.0, "refused")
        self.assertFalse(failed.site_answered(0))
        self.assertEqual(1, failed.attempt)

    def test_it_recovers_by_one_probe_then_grows(self) -> None:
        failed = lane()
        failed.site_failed(0, 60.0, "refused")
        self.assertTrue(failed.site_answered(1))
        self.assertEqual(2, failed.room(61.0))
        failed.site_answered(1)
        failed.site_answered(1)
        self.assertEqual(8, failed.room(61.0))

    def test_it_wakes_when_both_work_and_lane_are_due(self) -> None:
        failed = lane()
        failed.note_due(10.0)
        self.assertEqual(10.0, failed.wake_at())
        failed.site_failed(0, 60.0, "refused")
        self.assertEqual(60.0, failed.wake_at())
        failed.forget_trouble()
        self.assertEqual(10.0, failed.wake_at())

    def test_a_batch_is_claimed_only_where_half_the_window_is_free(self) -> None:
        busy = lane(waiting=100)
        busy.in_hand = 5
        self.assertFalse(busy.is_worth_claiming(1.0))
        busy.in_hand = 4
        self.assertTrue(busy.is_worth_claiming(1.0))


class OperatorTests(SynchronousTestCase):
    def test_asking_again_and_again_makes_no_longer_wait(self) -> None:
        failed = lane()
        for generation in range(8):
            failed.site_failed(generation, 60.0, "refused")
            failed.forget_trouble()
        self.assertEqual(1, failed.attempt)
