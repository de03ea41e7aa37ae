"""A clock that tells the time of day and never jumps: what every timer and every stamp goes by.

Twisted's timers go by the time of day. Where that is set back by an hour, whatever waits for a
moment waits for an hour; where it is set forward, all that waits is over at once. This one follows
at half or at double speed instead, until it is right again.
"""

import time
from collections.abc import Callable
from typing import Any

from twisted.logger import Logger

TOLERANCE = 1.0
"""Seconds that the time of day may jump by unnoticed."""

SLOWEST, FASTEST = 0.5, 2.0
"""Seconds that pass here for each second, while the clock is wrong."""

_log = Logger()


class SteadyClock:
    """`wall`: the time of day, unix seconds; `monotonic`: seconds since whenever."""

    __slots__ = ("_asked_at", "_is_wrong", "_monotonic", "_offset", "_wall")

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._asked_at = monotonic()
        self._offset = wall() - self._asked_at  # of what is told from the monotonic time
        self._is_wrong = False

    def seconds(self) -> float:
        """Unix seconds."""
        wall, now = self._wall(), self._monotonic()
        error = wall - now - self._offset
        if -TOLERANCE < error < TOLERANCE:
            if self._is_wrong:
                self._right_again()
            self._offset += error
            self._asked_at = now
            return wall
        return self._follow(now, error)

    def _follow(self, now: float, error: float) -> float:
        if not self._is_wrong:
            self._is_wrong = True
            _log.warn(
                "the clock was set {way} by {error:.0f} s; here time passes at {speed} speed until"
                " it is right",
                way="forward" if error > 0 else "back",
                error=abs(error),
                speed="double" if error > 0 else "half",
            )
        passed, self._asked_at = now - self._asked_at, now
        self._offset += (
            min(error, passed * (FASTEST - 1)) if error > 0 else max(error, passed * (SLOWEST - 1))
        )
        return now + self._offset

    def _right_again(self) -> None:
        self._is_wrong = False
        _log.info("the clock is right again")


def keep_steady(reactor: Any) -> None:
    """Its timers, and whoever asks it for the time."""
    reactor.seconds = SteadyClock().seconds
