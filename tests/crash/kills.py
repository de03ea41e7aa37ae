"""kill -9 at random instants under load: of the relay, of a worker, and of the upstream."""

import os
import signal
import subprocess
import time
from contextlib import suppress as ignoring
from unittest import SkipTest

from tests.crash.account import Account
from tests.crash.scene import Scene, start
from tests.interop.tools import need
from tests.process.child import wait_until
from tests.process.relay_process import RECOVERY

_LONGEST = 1.0
"""Seconds from one fault to the next, at the most: the instants are random within it."""


def kill_the_relay(stage: Scene, count: int) -> Account:
    for number in range(count):
        if not number % 5:
            _pressure(stage)
        stage.wait_for_more(stage.random.randint(1, 40))
        time.sleep(stage.random.random() * 0.05)
        stage.relay.kill()
        stage.upstream.note_fault()
        start(stage.relay)
    return stage.account()


def _pressure(stage: Scene) -> None:
    """smtp-source beside the counted load: it ends with the session that a kill breaks."""
    with ignoring(SkipTest):  # where it is missing
        subprocess.Popen(
            [
                *(need("smtp-source"), "-s", "2", "-m", "200", "-l", "4096", "-N"),
                *("-f", "pressure@example.net", "-t", "pressure@example.com"),
                f"127.0.0.1:{stage.relay.port}",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=stage.relay.folder,
        )


def kill_workers(stage: Scene, count: int) -> Account:
    """One of them at a time; the supervisor starts it again."""
    for _ in range(count):
        stage.wait_for_more(stage.random.randint(1, 40))
        time.sleep(stage.random.random() * 0.05)
        number = stage.random.choice(sorted(_workers(stage)))
        killed = _workers(stage)[number]
        with ignoring(ProcessLookupError):
            os.kill(killed, signal.SIGKILL)
        stage.upstream.note_fault()
        wait_until(
            lambda number=number, killed=killed: _workers(stage).get(number, killed) != killed,
            "the worker's next start",
            RECOVERY,
        )
    return stage.account()


def _workers(stage: Scene) -> dict[str, int]:
    """Pids by number, as each one's lock tells it."""
    return {
        lock.parent.name: int(pid)
        for lock in stage.relay.spool.glob("*/lock")
        if (pid := lock.read_text().strip())
    }


def cut_the_upstream(stage: Scene, count: int) -> Account:
    """All of its sessions at once, for a moment or longer; then it is there again."""
    for _ in range(count):
        stage.wait_for_more(stage.random.randint(1, 40))
        stage.upstream.note_fault()
        stage.upstream.collector.stop()
        stage.upstream.note_fault()
        time.sleep(stage.random.random() * _LONGEST)
        stage.upstream.collector.start()
    return stage.account()
