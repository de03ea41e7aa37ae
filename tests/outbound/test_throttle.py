"""The window, and the decision what to do next with the sessions there are."""

from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.outbound.throttle import GROW_AFTER, Move, Window, next_move
from tests.properties import given


class WindowTests(SynchronousTestCase):
    def test_begins_open(self):
        self.assertEqual(Window(20).size, 20)

    def test_one_then_doubling(self):
        window = Window(20)
        window.host_failed()
        sizes = [window.size]
        for _ in range(6):
            window.session_opened()
            sizes.append(window.size)
        self.assertEqual(sizes, [1, 2, 4, 8, 16, 20, 20])

    def test_turned_away(self):
        """Kept at what the host allows; one more is tried after many successes, not at once."""
        window = Window(20)
        window.turned_away(3)
        window.session_opened()
        self.assertEqual(window.size, 3)
        for _ in range(GROW_AFTER - 1):
            window.transaction_done()
        self.assertEqual(window.size, 3)
        window.transaction_done()
        self.assertEqual(window.size, 4)

    @given(st.integers(1, 50), st.lists(st.sampled_from("fotd"), max_size=300), st.integers(0, 60))
    def test_bounds(self, most, events, living):
        window = Window(most)
        for event in events:
            if event == "f":
                window.host_failed()
            elif event == "o":
                window.session_opened()
            elif event == "t":
                window.turned_away(living)
            else:
                window.transaction_done()
            self.assertTrue(1 <= window.size <= most, repr(window))


class MoveTests(SynchronousTestCase):
    def check(self, move, **state):
        usual = {"waiting": 0, "needing_fresh": 0, "idle": 0}
        usual |= {"resting": 0, "opening": 0, "closing": 0, "sessions": 0}
        self.assertIs(next_move(**{**usual, "window": 4, **state}), move, state)

    def test_moves(self):
        self.check(Move.WAIT)
        self.check(Move.WAIT, idle=3, sessions=3)
        self.check(Move.OPEN, waiting=1)
        self.check(Move.REUSE, waiting=1, idle=1, sessions=1)
        self.check(Move.WAIT, waiting=1, opening=1, sessions=1)
        self.check(Move.OPEN, waiting=2, opening=1, sessions=1)
        self.check(Move.WAIT, waiting=9, opening=1, sessions=4)
        self.check(Move.OPEN, needing_fresh=1, idle=1, sessions=1)
        self.check(Move.CLOSE, needing_fresh=1, idle=1, sessions=4)
        self.check(Move.WAIT, needing_fresh=1, sessions=4)
        self.check(Move.OPEN, waiting=1, resting=1, sessions=1)
        self.check(Move.RECALL, waiting=1, resting=1, sessions=4)
        self.check(Move.WAIT, waiting=1, resting=1, closing=1, sessions=4)
        self.check(Move.RECALL, waiting=2, resting=1, closing=1, sessions=4)
        self.check(Move.WAIT, needing_fresh=1, idle=1, closing=1, sessions=4)
        self.check(Move.CLOSE, needing_fresh=2, idle=1, closing=1, sessions=4)
        self.check(Move.RECALL, needing_fresh=1, resting=1, sessions=4)

    @given(*[st.integers(0, 5)] * 4, st.integers(0, 5), st.integers(1, 5))
    def test_somebody_always_moves(self, waiting, needing_fresh, idle, opening, busy, window):
        """With nothing open, opening or busy, whoever waits gets a session opened."""
        move = next_move(
            waiting=waiting,
            needing_fresh=needing_fresh,
            idle=idle,
            resting=0,
            opening=opening,
            closing=0,
            sessions=idle + opening + busy,
            window=window,
        )
        if move is Move.WAIT and waiting + needing_fresh:
            self.assertTrue(opening or busy)
        if move is Move.OPEN:
            self.assertLess(idle + opening + busy, window)
