"""What a service asks of its process: signals in the reactor's own time, and an exit status."""

import atexit
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

_wanted: list[int] = []


def on_signal(number: signal.Signals, reactor: Any, act: Callable[[], None]) -> None:
    """Act in the reactor's own time; a signal may come between any two instructions."""
    signal.signal(number, lambda *_: reactor.callFromThread(act))


def exit_with(status: int) -> None:
    """Make twistd, which knows no exit status of services, end with this one; a worker looks at
    `wanted_status`."""
    _wanted.append(status)
    atexit.register(_leave)


def wanted_status() -> int:
    return _wanted[-1] if _wanted else 0


def _leave() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(wanted_status())
