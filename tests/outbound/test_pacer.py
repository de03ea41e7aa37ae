"""Messages no faster than the config allows: evenly, whatever comes in a burst, and given back."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from relay.mail.outcome import Relayed
from relay.mail.reply import reply
from relay.outbound.delivery import Delivery
from relay.outbound.pacer import Pacer
from tests.outbound.case import DeliveryCase

STOP = reply(451, "4.3.2", "stop")


class One:
    def __init__(self):
        self.failed = None

    def site_failed(self, reply, label):
        self.failed = reply


class PacerTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.clock.advance(1000)
        self.times = []

    def go(self, pending):
        self.times.append(self.clock.seconds() - 1000)

    def take(self, pacer, count):
        ones = [One() for _ in range(count)]
        for one in ones:
            pacer.take_turn(one, self.go)
        return ones

    def test_evenly(self):
        pacer = Pacer(0.5, self.clock)
        self.take(pacer, 4)
        self.clock.pump([0.5] * 20)
        self.assertEqual(self.times, [0, 2, 4, 6])

    def test_a_pause_earns_no_burst(self):
        pacer = Pacer(0.5, self.clock)
        self.take(pacer, 1)
        self.clock.advance(60)
        self.take(pacer, 3)
        self.clock.pump([0.5] * 20)
        self.assertEqual(self.times, [0, 60, 62, 64])

    def test_high_rates_are_had_though_timers_ring_late(self):
        pacer = Pacer(1000, self.clock)
        self.take(pacer, 1000)
        self.clock.pump([0.01] * 100)
        self.assertGreater(len(self.times), 980)

    def test_never_more_than_the_rate(self):
        pacer = Pacer(10, self.clock)
        self.take(pacer, 1000)
        self.clock.pump([0.7] * 30)
        self.assertLessEqual(len(self.times), 21 * 10 + 2)

    def test_withdrawn(self):
        pacer = Pacer(1, self.clock)
        ones = self.take(pacer, 3)
        pacer.withdraw(ones[1])
        self.clock.pump([0.5] * 10)
        self.assertEqual(self.times, [0, 1])

    def test_stopped(self):
        pacer = Pacer(1, self.clock)
        ones = self.take(pacer, 3)
        pacer.stop(STOP)
        late = self.take(pacer, 1)
        self.clock.pump([1] * 5)
        self.assertEqual(self.times, [0])
        self.assertEqual([one.failed for one in (*ones, *late)], [None, STOP, STOP, STOP])
        self.assertEqual(self.clock.getDelayedCalls(), [])


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
        self.assertEqual(repr(delivery._hops["up"].pacer), "<Pacer one in 0.5 s, 0 waiting>")

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
