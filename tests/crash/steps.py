"""The time of day set under load, by hours and to and fro, as a wrong clock is put right."""

from tests.crash.account import Account
from tests.crash.clock import set_clock
from tests.crash.scene import Scene
from tests.process.child import wait_until

FURTHEST = 7200
"""Seconds that the clock is wrong by, at the most."""


def move_the_clock(stage: Scene, count: int) -> Account:
    """Mail goes on at once: nothing waits for a time that is far away now, or past."""
    for _ in range(count):
        stage.wait_for_more(stage.random.randint(1, 40))
        seconds = stage.random.randint(-FURTHEST, FURTHEST)
        set_clock(stage.offset, seconds)
        stage.notes.append(f"{seconds:+d} s")
        wait_until(lambda: "the clock was set" in stage.relay.child.output, "that it notices")
        arrived = len(stage.upstream.names())
        stage.wait_for_more()
        stage.wait_for_arrivals(arrived + 20)
    return stage.account()
