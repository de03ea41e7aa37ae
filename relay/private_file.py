"""Reads a file that nobody but its owner may read: passwords, tokens, users."""

import os
import stat
from pathlib import Path


class NotPrivate(Exception):
    """Others can read it. The text, "... can be read by others; run: ...", goes behind its name."""


def read_private(path: Path, most: int) -> tuple[bytes, os.stat_result]:
    """At most `most` octets and one more, which tells that it is larger; and what it was then.

    Raises OSError, NotPrivate.
    """
    with path.open("rb") as file:
        told = os.fstat(file.fileno())
        octets = file.read(most + 1)
    if stat.S_IMODE(told.st_mode) & 0o077:
        raise NotPrivate(f"can be read by others; run: chmod 600 {path}")
    return octets, told
