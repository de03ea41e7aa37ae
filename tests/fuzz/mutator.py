"""A fuzzer of our own, for where atheris is not: seeded, so that what it finds can be found again.

It puts words together, changes octets, and keeps the inputs that led to a line of code that no
other one led to.
"""

import random
import sys
import time
from collections.abc import Sequence
from types import CodeType, FrameType
from typing import Any

from tests.fuzz.targets import Target

MAX_INPUT = 1024
"""Octets; longer ones are slow and show little that is new."""

TRACED_SHARE = 20
"""Each so many-th input is watched line by line, which makes it some ten times slower."""

_OURS = "/relay/"


class Fault(Exception):
    """A target raised what it should not. `octets`: with this input."""

    def __init__(self, octets: bytes) -> None:
        super().__init__(repr(octets))
        self.octets = octets


class Mutator:
    """Runs one target; `executions` so far."""

    def __init__(self, target: Target, words: Sequence[bytes], seed: int) -> None:
        self._target = target
        self._words = words
        self._random = random.Random(seed)
        self._kept: list[bytes] = [b"", *words]
        self._seen: set[tuple[CodeType, int]] = set()
        self.executions = 0

    def run(self, seconds: float = 0.0, executions: int = 0) -> None:
        """For so long, or so often. Raises Fault."""
        end = time.monotonic() + seconds
        while self.executions < executions or (
            seconds and (self.executions % 64 or time.monotonic() < end)
        ):
            octets = self._next()
            self.executions += 1
            try:
                if self.executions % TRACED_SHARE:
                    self._target(octets)
                elif self._leads_anywhere_new(octets):
                    self._kept.append(octets)
            except Exception as error:
                raise Fault(octets) from error

    @property
    def lines(self) -> int:
        """Lines of the relay's code that were reached."""
        return len(self._seen)

    def _next(self) -> bytes:
        choose = self._random
        octets = choose.choice(self._kept)
        for _ in range(choose.randint(1, 6)):
            octets = self._changed(octets)
        return octets[:MAX_INPUT]

    def _changed(self, octets: bytes) -> bytes:
        choose = self._random
        at = choose.randint(0, len(octets))
        end = min(len(octets), at + choose.randint(0, 8))
        way = choose.randint(0, 5)
        if way <= 1:
            return octets[:at] + choose.choice(self._words) + octets[at:]
        if way == 2:
            return octets[:at] + bytes([choose.randint(0, 255)]) + octets[at + 1 :]
        if way == 3:
            return octets[:at] + octets[end:]
        if way == 4:
            return octets[:at] + octets[at:end] * choose.randint(2, 20) + octets[end:]
        other = choose.choice(self._kept)
        return octets[:at] + other[choose.randint(0, len(other)) :]

    def _leads_anywhere_new(self, octets: bytes) -> bool:
        before = len(self._seen)
        sys.settrace(self._trace)
        try:
            self._target(octets)
        finally:
            sys.settrace(None)
        return len(self._seen) > before

    def _trace(self, frame: FrameType, event: str, _: Any) -> Any:
        code = frame.f_code
        if _OURS not in code.co_filename or "/tests/" in code.co_filename:
            return None
        if event == "line":
            self._seen.add((code, frame.f_lineno))
        return self._trace
