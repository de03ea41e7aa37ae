"""A short, seeded run of each target, so that they keep working; and what fuzzing has found."""

from twisted.trial.unittest import SynchronousTestCase

from tests.fuzz.mutator import Fault, Mutator
from tests.fuzz.seeds import words
from tests.fuzz.targets import TARGETS

FOUND = {
    "config": (
        b"a." * 20000 + b"b = 1",  # RecursionError
        b"[a" + b".a" * 20000 + b"]\nb = 1",
        b"a = " + b"[" * 200000,
        b"a = " + b"9" * 5000,
    ),
}
"""Inputs that were faults once."""


class TargetTests(SynchronousTestCase):
    def test_each_for_a_moment(self) -> None:
        for name, target in TARGETS.items():
            with self.subTest(name):
                mutator = Mutator(target, words(name), seed=1)
                mutator.run(executions=150)
                self.assertEqual(150, mutator.executions)
                self.assertGreater(mutator.lines, 10)

    def test_what_was_found_stays_mended(self) -> None:
        for name, inputs in FOUND.items():
            for octets in inputs:
                with self.subTest(name, octets=octets[:20]):
                    TARGETS[name](octets)

    def test_a_fault_is_found_and_told(self) -> None:
        """By words that a comparison in the code asks for."""

        def target(octets: bytes) -> None:
            if b"ab" in octets:
                raise KeyError("x")

        mutator = Mutator(target, (b"a", b"b"), seed=1)
        fault = self.assertRaises(Fault, mutator.run, executions=10_000)
        self.assertIn(b"ab", fault.octets)
        self.assertIsInstance(fault.__cause__, KeyError)
