"""How long to wait after the n-th failure: a list of steps, the last one repeating, with jitter.

Pure: randomness is handed in, so that a seed replays it.
"""

from collections.abc import Callable, Sequence

JITTER = 0.1
"""A tenth either way, so that what failed together is not tried again together."""


def delay_after(attempt: int, steps: Sequence[float], random: Callable[[], float]) -> float:
    """Seconds to wait after the `attempt`-th failure (from 1). `random()` yields [0, 1)."""
    step = steps[min(attempt, len(steps)) - 1]
    return step * (1 - JITTER + 2 * JITTER * random())
