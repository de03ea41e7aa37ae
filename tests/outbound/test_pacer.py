"""Messages no faster than the config allows: evenly, whatever comes in a burst, and given back."""

from pathlib import Path

from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from relay.mail.outcome import Relayed
from relay.mail.reply import reply
from relay.outbound.delivery import Delivery
from relay.outbound.pacer import CATCH_UP, Pacer
from relay.outbound.turns import Turns
from tests.outbound.case import DeliveryCase

START = 4_000_000_000
"""After any time that a file of today has by itself."""

STOP = reply(451, "4.3.2", "stop")


class One:
    def __init__(self):
        self.failed = None

    def site_failed(self, reply, label):
        self.failed = reply


class PacerTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.clock.advance(START)
        self.times = []
        self.folder = Path(self.mktemp())

    def pacer(self, rate):
        """As a process makes it when it starts."""
        return Pacer(rate, self.clock, Turns(self.folder), "up")

    def go(self, pending):
        self.times.append(round(self.clock.seconds() - START, 3))

    def take(self, pacer, count):
        ones = [One() for _ in range(count)]
        for one in ones:
            pacer.take_turn(one, self.go)
        return ones

    def test_evenly(self):
        pacer = self.pacer(0.5)
        self.take(pacer, 4)
        self.clock.pump([0.5] * 20)
        self.assertEqual(self.times, [0, 2, 4, 6])

    def test_a_pause_earns_no_burst(self):
        pacer = self.pacer(0.5)
        self.take(pacer, 1)
        self.clock.advance(60)
        self.take(pacer, 3)
        self.clock.pump([0.5] * 20)
        self.assertEqual(self.times, [0, 60, 62, 64])

    def test_high_rates_are_had_though_timers_ring_late(self):
        pacer = self.pacer(1000)
        self.take(pacer, 1000)
        self.clock.pump([0.01] * 100)
        self.assertGreater(len(self.times), 980)

    def test_never_more_than_the_rate(self):
        pacer = self.pacer(10)
        self.take(pacer, 1000)
        self.clock.pump([0.7] * 30)
        self.assertLessEqual(len(self.times), 21 * 10 + 2)

    def test_withdrawn(self):
        pacer = self.pacer(1)
        ones = self.take(pacer, 3)
        pacer.withdraw(ones[1])
        self.clock.pump([0.5] * 10)
        self.assertEqual(self.times, [0, 1])

    def test_stopped(self):
        pacer = self.pacer(1)
        ones = self.take(pacer, 3)
        pacer.stop(STOP)
        late = self.take(pacer, 1)
        self.clock.pump([1] * 5)
        self.assertEqual(self.times, [0])
        self.assertEqual([one.failed for one in (*ones, *late)], [None, STOP, STOP, STOP])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_no_restart_earns_a_turn(self):
        """Twenty of them, in the midst of an hour's wait; then it goes on where it was."""
        for _ in range(20):
            self.take(self.pacer(1 / 3600), 3)
            self.clock.advance(60)
        self.assertEqual(self.times, [0])
        self.clock.advance(3600 - 20 * 60)
        self.assertEqual(self.times[:2], [0, 3600])

    def test_nor_does_a_crash_just_after_a_turn(self):
        """It is kept before the message goes."""
        seen = []
        pacer = self.pacer(1 / 3600)
        pacer.take_turn(One(), lambda _: seen.append(Turns(self.folder).next_at("up")))
        self.assertLessEqual(START + 3600 - seen[0], CATCH_UP + 0.001)

    def test_a_pause_that_was_long_enough_counts(self):
        self.take(self.pacer(1 / 3600), 1)
        self.clock.advance(3600)
        self.take(self.pacer(1 / 3600), 2)
        self.assertEqual(self.times, [0, 3600])

    def test_another_lane_s_turns_are_its_own(self):
        self.take(self.pacer(1 / 3600), 1)
        self.take(Pacer(1 / 3600, self.clock, Turns(self.folder), "up:other"), 1)
        self.assertEqual(self.times, [0, 0])

    def test_a_higher_rate_does_not_wait_for_the_lower_one_s_turn(self):
        self.take(self.pacer(1 / 86400), 1)
        self.take(self.pacer(1 / 60), 1)
        self.clock.advance(60)
        self.assertEqual(self.times, [0, 60])

    def test_nor_a_clock_that_was_set_back(self):
        Turns(self.folder).keep("up", self.clock.seconds() + 1e6)
        self.take(self.pacer(1 / 60), 1)
        self.clock.pump([1] * 70)
        self.assertEqual(self.times, [60])

    def test_a_pacer_that_is_made_before_the_other_ends(self):
        """A reload makes it, and uses it a while later."""
        next_one = self.pacer(1 / 3600)
        self.take(self.pacer(1 / 3600), 1)
        self.take(next_one, 1)
        self.assertEqual(self.times, [0])

    def test_high_rates_write_nothing(self):
        self.take(self.pacer(10), 3)
        self.clock.pump([0.1] * 5)
        self.assertEqual(len(self.times), 3)
        self.assertFalse(self.folder.exists())

    def test_a_disk_that_is_ill_holds_nothing_up(self):
        self.folder.write_text("not a folder")
        with capturedLogs() as logs:
            self.take(self.pacer(1), 3)
            self.clock.pump([0.5] * 10)
        self.assertEqual(self.times, [0, 1, 2])
        self.assertEqual(len(logs), 1)


class DeliveryTests(DeliveryCase):
    async def test_through_a_whole_delivery(self):
        up = self.upstream()
        delivery = self.delivery(up, max_rate="5/s")
        began = self.reactor.seconds()
        for attempt in [self.deliver(delivery, f"{n}@x.test") for n in range(4)]:
            self.assert_kinds(await attempt, Relayed)
        self.assertGreaterEqual(self.reactor.seconds() - began, 0.5)

    async def test_workers_share_it(self):
        upstream = self.settings(self.upstream(), max_rate="10/s")
        delivery = Delivery({"up": upstream}, "relay.test", self.reactor, workers=5)
        self.addCleanup(delivery.stop, 0)
        self.assertEqual(repr(delivery._hops["up"]._pacer), "<Pacer one in 0.5 s, 0 waiting>")

    async def test_each_identity_s_turns_are_kept(self):
        upstream = self.settings(self.upstream(), max_rate="1/s", identity=({"name": "bills"},))
        folder = Path(self.mktemp())
        delivery = Delivery({"up": upstream}, "relay.test", self.reactor, turns_folder=folder)
        self.addCleanup(delivery.stop, 0)
        for lane in ("up", "up:bills"):
            self.assert_kinds(await self.deliver(delivery, "a@x.test", lane=lane), Relayed)
        self.assertEqual({path.name for path in folder.iterdir()}, {"up", "up:bills"})

    async def test_what_waits_goes_back_when_the_relay_stops(self):
        up = self.upstream()
        delivery = self.delivery(up, max_rate="1/d")
        first = await self.deliver(delivery, "a@x.test")
        waiting = [self.deliver(delivery, f"{n}@x.test") for n in range(3)]
        self.assertEqual(delivery.status()[0]["paced"], 3)
        await delivery.stop(60)
        self.assert_kinds(first, Relayed)
        for attempt in waiting:
            self.assertTrue((await attempt).is_withdrawn)
        self.assertEqual(len(up.transactions), 1)
