"""The table of the dialogue is whole, and the page about it is what it says."""

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from relay.smtp.dialogue import BDAT_LAST, DOT, GREETING, TABLE, State, next_state, render_dot

PAGE = Path(__file__).parents[2] / "docs" / "dialogue.rst"


class TableTests(SynchronousTestCase):
    def test_every_state_can_be_reached_and_left(self):
        reached = {State.CONNECTED}
        for _ in State:
            for state in reached.copy():
                for moves in TABLE[state].values():
                    reached.update(moves.values())
        self.assertEqual(reached, set(State))
        for state, rows in TABLE.items():
            targets = {target for moves in rows.values() for target in moves.values()}
            self.assertEqual(bool(targets - {state}), state is not State.CLOSED, state)

    def test_every_command_may_be_refused(self):
        for state, rows in TABLE.items():
            for command, moves in rows.items():
                self.assertLessEqual({4, 5}, set(moves), (state, command))

    def test_a_transaction(self):
        state = State.CONNECTED
        for command, code in (
            (GREETING, 220), ("EHLO", 250), ("MAIL", 250), ("RCPT", 550), ("RCPT", 250),
            ("RCPT", 451), ("DATA", 354), (DOT, 250), ("MAIL", 250), ("RCPT", 250),
            ("BDAT", 250), ("NOOP", 250), (BDAT_LAST, 250), ("QUIT", 221),
        ):  # fmt: skip
            state = next_state(state, command, code)
            self.assertIsNotNone(state, command)
        self.assertIs(state, State.CLOSED)

    def test_impossible_replies(self):
        self.assertIsNone(next_state(State.READY, "MAIL", 354))
        self.assertIsNone(next_state(State.RCPT, "DATA", 250))
        self.assertIsNone(next_state(State.READY, "RCPT", 250))

    def test_refusals_out_of_sequence_change_nothing(self):
        self.assertIs(next_state(State.READY, "RCPT", 503), State.READY)
        self.assertIs(next_state(State.READY, "DATA", 503), State.READY)

    def test_421_closes(self):
        for state in State:
            self.assertIs(next_state(state, "NOOP", 421), State.CLOSED)

    def test_354_without_recipients_wants_a_lone_dot(self):
        for state in (State.READY, State.MAIL):
            self.assertIs(next_state(state, "DATA", 354), State.UNWANTED)

    def test_the_page_shows_this_table(self):
        shown = "".join(f"    {line}\n" for line in render_dot().splitlines())
        self.assertIn(shown, PAGE.read_text(), f"paste this into {PAGE}:\n{shown}")
