"""A clock that tells the time of day and never jumps: what every timer and every stamp goes by.

Twisted's timers go by the time of day. Where that is set back by an hour, whatever waits for a
moment waits for an hour; where it is set forward, all that waits is over at once. This one follows
at half or at double speed instead, until it is right again.
"""

import time
from collections.abc import Callable
from typing import Any

from twisted.logger import Logger

LOOK_EVERY = 0.5
"""Seconds between two looks at the time of day."""

FURTHEST = 86_400.0
"""Seconds that it is set forward by, beyond which it is right at once: a machine that slept for
days has no session left for which that would be too early."""

TOLERANCE = 1.0
"""Seconds that the time of day may jump by unnoticed."""

SLOW, FAST = 0.5, 2.0
"""Seconds that pass here for each second, while the clock is wrong."""

_log = Logger()


class SteadyClock:
    """`wall`: the time of day, unix seconds; `monotonic`: seconds since whenever."""

    __slots__ = ("_at", "_look_at", "_monotonic", "_speed", "_told", "_wall")

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._speed = 1.0
        self._told = wall()  # at the last look, which was ...
        self._at = monotonic()
        self._look_at = self._at + LOOK_EVERY

    def seconds(self) -> float:
        """Unix seconds."""
        now = self._monotonic()
        told = self._told + (now - self._at) * self._speed
        return told if now < self._look_at else self._look(now, told)

    def _look(self, now: float, told: float) -> float:
        wall = self._wall()
        error = wall - told
        if abs(error) < TOLERANCE or error > FURTHEST:
            self._go_on(1.0, error)
            told = wall
        elif self._has_overshot(now, error):
            self._go_on(1.0, error)
            told = max(wall, self._told + LOOK_EVERY * self._speed)  # which may have been told
        else:
            self._go_on(FAST if error > 0 else SLOW, error)
        self._told, self._at, self._look_at = told, now, now + LOOK_EVERY
        return told

    def _has_overshot(self, now: float, error: float) -> bool:
        """Nobody asked for so long that the time of day was not only reached, but passed."""
        gained = (now - self._at) * (self._speed - 1.0)
        return 0 < -error <= gained or gained <= -error < 0

    def _go_on(self, speed: float, error: float) -> None:
        if speed == self._speed:
            return
        self._speed = speed
        if speed == 1.0:
            _log.info("the clock is right again")
        else:
            _log.warn(
                "the clock was set {way} by {error:.0f} s; here time passes at {speed} speed until"
                " it is right (it is at once where the relay is started anew)",
                way="forward" if error > 0 else "back",
                error=abs(error),
                speed="double" if error > 0 else "half",
            )


def keep_steady(reactor: Any, clock: SteadyClock | None = None) -> None:
    """Its timers, and whoever asks it for the time. `clock`: another than the machine's."""
    reactor.seconds = (clock or SteadyClock()).seconds
