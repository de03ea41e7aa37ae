"""What an attempt comes to: outcomes completed, times set."""

from twisted.trial.unittest import SynchronousTestCase

from relay.mail.content import InlineContent
from relay.mail.envelope import Envelope, Origin, Recipient
from relay.mail.outcome import Attempt, Delayed, Failed, Relayed, SiteFailure
from relay.mail.reply import reply
from relay.queue.schedule import Terms, expire, plan
from relay.queue.store import Message, Work

OK = reply(250, "2.0.0", "ok")
LATER = reply(451, "4.7.1", "greylisted")
NO = reply(550, "5.1.1", "no such user")
TERMS = Terms((60.0, 300.0), 3600.0, 7200.0)
ACCEPTED_AT = 1000.0


def work(count: int = 2, attempt: int = 0) -> Work:
    recipients = tuple(Recipient(n, f"r{n}@example.org") for n in range(1, count + 1))
    envelope = Envelope("s@example.net", recipients)
    message = Message("ID", envelope, Origin("lan", ""), InlineContent(b"x\r\n"), ACCEPTED_AT)
    return Work(message, "next", recipients, attempt)


def planned(attempt: Attempt, at: float = 1001.0, charged: int = 0, lane: float | None = None):
    return plan(work(2, charged), attempt, at, TERMS, lambda: 0.5, lane)


class PlanTests(SynchronousTestCase):
    def test_all_relayed(self) -> None:
        done = planned(Attempt({1: Relayed(OK, "h"), 2: Relayed(OK, "h")}))
        self.assertEqual("done", done.why)

    def test_delayed_ones_wait_for_the_next_step(self) -> None:
        made = planned(Attempt({1: Relayed(OK, "h"), 2: Delayed(LATER, "h")}))
        self.assertEqual((1, 1061.0), (made.attempt, made.next_attempt_at))
        again = planned(Attempt({1: Relayed(OK, "h"), 2: Delayed(LATER, "h")}), charged=1)
        self.assertEqual((2, 1301.0), (again.attempt, again.next_attempt_at))

    def test_one_failed(self) -> None:
        made = planned(Attempt({1: Relayed(OK, "h"), 2: Failed(NO, "h")}))
        self.assertEqual("failed", made.why)

    def test_a_site_failure_delays_whoever_was_not_decided_until_the_lane_is_tried(self) -> None:
        site = SiteFailure(reply(451, "4.4.1", "refused"), "h")
        made = planned(Attempt({1: Failed(NO, "h")}, site), lane=1031.0)
        self.assertIsInstance(made.outcomes[1], Failed)
        self.assertEqual(Delayed(site.reply, "h"), made.outcomes[2])
        self.assertEqual(1031.0, made.next_attempt_at)

    def test_a_lane_that_recovers_early_finds_what_was_tried_due_soon(self) -> None:
        site = SiteFailure(reply(451, "4.4.1", "refused"), "h")
        made = planned(Attempt({}, site), charged=1, lane=99000.0)
        self.assertEqual(1061.0, made.next_attempt_at)

    def test_a_delay_that_comes_too_late_is_left_to_the_sweep(self) -> None:
        """It knows what an operator holds: that does not expire."""
        at = ACCEPTED_AT + TERMS.expire_after
        made = planned(Attempt({1: Relayed(OK, "h"), 2: Delayed(LATER, "h")}), at)
        self.assertIsInstance(made.outcomes[2], Delayed)

    def test_expiry_while_waiting_fails_all_that_is_owed(self) -> None:
        made = expire(work(), {1: "450 4.2.1 busy"})
        self.assertEqual({1, 2}, set(made.outcomes))
        self.assertEqual("4.4.7", made.outcomes[1].reply.status)
        self.assertIn("450 4.2.1 busy", str(made.outcomes[1].reply))
        self.assertEqual("451 4.4.7 delivery time expired", str(made.outcomes[2].reply))
