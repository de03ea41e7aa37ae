"""Steps, the last one repeating, a tenth of jitter either way."""

from twisted.trial.unittest import SynchronousTestCase

from relay.queue.backoff import delay_after


class BackoffTests(SynchronousTestCase):
    def test_steps_then_the_last_repeats(self) -> None:
        steps = (60.0, 300.0, 900.0)
        waits = [delay_after(n, steps, lambda: 0.5) for n in (1, 2, 3, 4, 50)]
        self.assertEqual([60.0, 300.0, 900.0, 900.0, 900.0], waits)

    def test_jitter_is_a_tenth_either_way(self) -> None:
        self.assertAlmostEqual(90.0, delay_after(1, (100.0,), lambda: 0.0))
        self.assertAlmostEqual(110.0, delay_after(1, (100.0,), lambda: 1.0))
