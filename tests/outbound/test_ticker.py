"""One timer for the deadlines of all sessions."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from relay.outbound.ticker import TICK, Ticker


class Session:
    """Notes when it was looked at; leaves the ticker while being looked at, where told to."""

    def __init__(self, ticker, is_short=False):
        self.ticker = ticker
        self.is_short = is_short
        self.checked_at = []

    def check(self, now):
        self.checked_at.append(now)
        if self.is_short:
            self.ticker.forget(self)


class TickerTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.ticker = Ticker(self.clock)

    def test_looks_at_all_with_one_timer(self):
        sessions = [Session(self.ticker) for _ in range(3)]
        for session in sessions:
            self.ticker.watch(session)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.pump([TICK, TICK])
        for session in sessions:
            self.assertEqual(session.checked_at, [TICK, 2 * TICK])

    def test_rests_when_there_is_none(self):
        short, other = Session(self.ticker, is_short=True), Session(self.ticker)
        self.ticker.watch(short)
        self.ticker.watch(other)
        self.clock.pump([TICK, TICK])
        self.assertEqual((short.checked_at, other.checked_at), ([TICK], [TICK, 2 * TICK]))
        self.ticker.forget(other)
        self.ticker.forget(other)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.ticker.watch(short)
        self.clock.advance(TICK)
        self.assertEqual(short.checked_at, [TICK, 3 * TICK])
        self.assertEqual(self.clock.getDelayedCalls(), [])
