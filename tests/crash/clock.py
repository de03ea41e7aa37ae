"""A clock of the relay's own, which can be set: libfaketime reads from a file how wrong it is.

The monotonic time goes on.
"""

from pathlib import Path

LIBRARIES = (
    Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"),
    Path("/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1"),
)
"""Debian's package libfaketime."""


def library() -> Path | None:
    """None where it is not installed."""
    return next((path for path in LIBRARIES if path.exists()), None)


def environment(offset: Path) -> dict[str, str]:
    """Of a process whose clock is wrong by what that file says."""
    return {
        "LD_PRELOAD": str(library()),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DONT_RESET": "1",
    }


def set_clock(offset: Path, seconds: int) -> None:
    """In one step: half a number would be another time."""
    new = offset.with_suffix(".new")
    new.write_text(f"{seconds:+d}\n")
    new.replace(offset)
