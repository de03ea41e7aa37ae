"""A time of day of the relay's own, which can be set: a file says how wrong it is.

Its process reads that each time it asks; the monotonic time goes on, as the kernel's does.
"""

from pathlib import Path

_WIDTH = 16
"""Octets of the number, so that one write replaces all of it."""

_CODE = """
import os, time
_offset, _time = os.open({path!r}, os.O_RDONLY), time.time
time.time = lambda: _time() + float(os.pread(_offset, {width}, 0))
"""


def clock_code(offset: Path) -> str:
    """Python that the relay's process runs first."""
    return _CODE.format(path=str(offset), width=_WIDTH)


def set_clock(offset: Path, seconds: int) -> None:
    offset.touch()
    with offset.open("r+b", buffering=0) as file:
        file.write(f"{seconds:<{_WIDTH}d}".encode())
