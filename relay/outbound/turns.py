"""When the next message of each paced lane may go, kept on disk: no restart begins a new quota.

An empty file for each lane, its time of change is that moment. It is not synced: what the process
says outlives the process, and a crash of the whole machine costs a message too early.
"""

import os
from pathlib import Path

from twisted.logger import Logger

KEPT_FROM = 0.5
"""Seconds between two turns, below which they are not kept: no restart is faster than that."""

_log = Logger()


class Turns:
    """`folder`: made when first needed; None: none."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._is_warned = False

    def next_at(self, lane: str) -> float:
        """Unix seconds; 0: nothing is known of that lane."""
        if self._folder is None:
            return 0.0
        try:
            return (self._folder / lane).stat().st_mtime
        except FileNotFoundError:
            return 0.0
        except OSError as error:
            self._warn(error)
            return 0.0

    def keep(self, lane: str, at: float) -> None:
        """Before the turn is taken: a crash in between costs a turn, not the provider's limit."""
        if self._folder is None:
            return
        path = self._folder / lane
        try:
            if not path.exists():
                self._folder.mkdir(mode=0o700, exist_ok=True)
                path.touch(mode=0o600)
            os.utime(path, ns=(round(at * 1e9),) * 2)
        except OSError as error:
            self._warn(error)

    def _warn(self, error: OSError) -> None:
        if not self._is_warned:
            self._is_warned = True
            _log.warn(
                "max_rate is kept to, but a restart may send a message early: {why}", why=error
            )

    def __repr__(self) -> str:
        return f"<Turns {self._folder}>"
