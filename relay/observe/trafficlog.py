"""The traffic log: each notice becomes one JSON line; lines are written once a reactor turn.

Observers may not raise nor block: what cannot be written is dropped and counted, told once, and
the next turn tries again. Lines are plain ASCII JSON whatever peers send, so that a terminal or a
log collector is never told anything by them.
"""

import json
import os
import select
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal

import orjson
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from relay.net.readiness import end_of_turn
from relay.notices import Notice
from relay.observe.facts import FACTS, rfc3339

MAX_BATCH: Final = 512
"""Lines after which a batch is written within the turn, and ..."""

MAX_BATCH_OCTETS: Final = 64 << 10
"""... octets: one write that the page cache takes at once."""

MAX_WAITING_OCTETS: Final = 4 << 20
"""Memory for lines that a stalled reader of standard output does not take; beyond it: dropped."""

RETRY_AFTER: Final = 0.1
"""Seconds until a stalled reader is asked again."""

_LINE_END: Final = 10

_log = Logger()

_PIECE: Final = select.PIPE_BUF
"""A pipe that poll() calls writable takes this many octets without blocking (POSIX)."""


class TrafficLog:
    """An observer that writes to a file, or to standard output for "-". Opened by `start`."""

    def __init__(self, file: Path | Literal["-"], clock: IReactorTime) -> None:
        self.file = file
        self.lost = 0  # lines dropped since the start
        self._clock = clock
        self._seconds: Callable[[], float] = clock.seconds
        self._descriptor: int | None = None
        self._may_block = False
        self._is_failing = False
        self._is_torn = False  # the last line written is not whole
        self._is_stalled = False  # a reader took only a part: the rest waits, in front
        self._lines: list[bytes] = []
        self._octets = 0
        self._at_end_of_turn = end_of_turn(clock)
        self._is_due = False  # at the end of this turn, or
        self._retry: IDelayedCall | None = None  # then

    def start(self) -> None:
        """Open the file. Trouble is logged: it stops no mail."""
        self._open()

    def stop(self) -> None:
        """Write what waits and close."""
        self._write_batch()
        self._drop()
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
            self._is_due = False
        self._close()

    def reopen(self) -> None:
        """Go on in a new file of the same name (after a rotation)."""
        self._write_batch()
        self._close()
        self._open()

    def __call__(self, notice: Notice) -> None:
        if self._octets >= MAX_WAITING_OCTETS:
            self.lost += 1
            return
        now = self._seconds()
        fields = FACTS[notice.__class__](notice)
        fields["time"] = rfc3339(now)
        self._add(as_line(fields))

    def pass_on(self, lines: bytes) -> None:
        """Whole lines that another process of this relay wrote."""
        if self._octets >= MAX_WAITING_OCTETS:
            self.lost += lines.count(b"\n")
        else:
            self._add(lines)

    def _add(self, line: bytes) -> None:
        self._lines.append(line)
        self._octets += len(line)
        if not self._is_due:
            self._is_due = True
            self._at_end_of_turn(self._end_turn)
        elif self._is_full() and not self._is_stalled:
            self._write_batch()

    def _is_full(self) -> bool:
        return len(self._lines) >= MAX_BATCH or self._octets >= MAX_BATCH_OCTETS

    def _end_turn(self) -> None:
        self._retry = None
        self._write_batch()
        self._is_due = bool(self._lines)
        if self._is_due:
            self._retry = self._clock.callLater(RETRY_AFTER, self._end_turn)

    def _write_batch(self) -> None:
        lines = self._lines
        if not lines:
            return
        descriptor = self._open() if self._descriptor is None else self._descriptor
        if descriptor is None:
            self._drop()
            return
        if self._is_stalled and not _is_writable(descriptor):
            return
        octets = b"".join(lines)
        try:
            begin = b"\n" if self._is_torn and not self._is_stalled else b""
            rest = self._write(descriptor, begin + octets)
        except OSError as error:
            self._failed(error)
            self._drop()
            self._close()
            return
        if self._is_failing:
            self._recovered()
        self._lines, self._octets = [rest] if rest else [], len(rest)
        self._is_stalled = bool(rest)

    def _write(self, descriptor: int, octets: bytes) -> bytes:
        """Write without blocking and yield what was not taken. Raises OSError."""
        view = memoryview(octets)
        while view:
            if self._may_block and not _is_writable(descriptor):
                break
            taken = os.write(descriptor, view[:_PIECE] if self._may_block else view)
            self._is_torn = view[taken - 1] != _LINE_END
            view = view[taken:]
        return bytes(view)

    def _drop(self) -> None:
        self.lost += sum(lines.count(b"\n") for lines in self._lines)
        self._lines, self._octets, self._is_stalled = [], 0, False

    def _open(self) -> int | None:
        try:
            descriptor = 1 if self.file == "-" else _open_to_append(Path(self.file))
            self._may_block = not stat.S_ISREG(os.fstat(descriptor).st_mode)
            self._is_torn = descriptor != 1 and not self._may_block and _is_torn(descriptor)
        except OSError as error:
            self._failed(error)
            return None
        self._descriptor = descriptor
        return descriptor

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None and self.file != "-":
            os.close(descriptor)

    def _failed(self, error: OSError) -> None:
        if not self._is_failing:
            self._is_failing = True
            _log.error(
                "traffic log {file} cannot be written ({why}); mail goes on, lines are lost",
                file=str(self.file),
                why=error.strerror,
            )

    def _recovered(self) -> None:
        self._is_failing = False
        _log.info(
            "traffic log {file} is written again; {lost} lines were lost since the start",
            file=str(self.file),
            lost=self.lost,
        )

    def __repr__(self) -> str:
        state = "failing" if self._is_failing else "open" if self._descriptor else "closed"
        return f"<TrafficLog {self.file} {state} waiting={len(self._lines)} lost={self.lost}>"


def as_line(fields: dict[str, Any]) -> bytes:
    """One JSON object in ASCII and a line end. Raises for no text, whatever is in it."""
    try:
        line = orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)
        if line.isascii():
            return line
    except orjson.JSONEncodeError:  # a surrogate in some text
        pass
    return json.dumps(_clean(fields), separators=(",", ":")).encode() + b"\n"


def _clean(value: Any) -> Any:
    """A lone surrogate has no place in JSON (RFC 8259 8.2): shown as \\udcxx instead."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    if isinstance(value, dict):
        return {key: _clean(item) for key, item in value.items()}
    return value


def _open_to_append(file: Path) -> int:
    kind = os.O_WRONLY if file.is_fifo() else os.O_RDWR
    flags = kind | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        return os.open(file, flags, 0o640)
    except FileNotFoundError:
        file.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        return os.open(file, flags, 0o640)


def _is_torn(descriptor: int) -> bool:
    """A crash or a full disk may have left a part of a line at the end of the file."""
    size = os.fstat(descriptor).st_size
    return size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"


def _is_writable(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return bool(poll.poll(0))
