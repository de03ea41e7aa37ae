"""Queue ids: short names of messages that sort by time and are never used twice on a relay.

A 63-bit integer, written as 13 upper-case digits of base 32: seconds since 2020 (31 bits), worker
(8), a counter within the second (14), the store's start number (10), so that a clock that was set
back between two starts repeats no id.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from twisted.internet.interfaces import IReactorTime

EPOCH: Final = int(datetime(2020, 1, 1, tzinfo=UTC).timestamp())
"""Seconds are counted from here: 31 bits last until 2088."""

LENGTH: Final = 13

_DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUV"
_PAIRS: Final = tuple(high + low for high in _DIGITS for low in _DIGITS)
_SECOND_SHIFT: Final = 32
_WORKER_SHIFT: Final = 24
_COUNTER_SHIFT: Final = 10
_COUNTER_MAX: Final = (1 << 14) - 1
_SECOND_MAX: Final = (1 << 31) - 1
_START_MASK: Final = (1 << _COUNTER_SHIFT) - 1


class QueueIds:
    """Makes ids that grow strictly, whatever the clock does: seconds are borrowed from the future
    where a second's counter is used up or the clock stepped back."""

    def __init__(self, start_number: int, worker: int, clock: IReactorTime) -> None:
        self._low = (worker & 0xFF) << _WORKER_SHIFT | start_number & _START_MASK
        self._seconds = clock.seconds
        self._second = 0
        self._counter = -1

    def next(self) -> str:
        second = int(self._seconds()) - EPOCH
        if second > self._second:
            self._second = second
            self._counter = 0
        elif self._counter < _COUNTER_MAX:
            self._counter += 1
        else:
            self._second += 1
            self._counter = 0
        return from_int(self._second << _SECOND_SHIFT | self._counter << _COUNTER_SHIFT | self._low)

    def __repr__(self) -> str:
        return f"<QueueIds second={self._second} counter={self._counter}>"


def from_int(number: int) -> str:
    pairs = _PAIRS
    return (
        _DIGITS[number >> 60]
        + pairs[number >> 50 & 1023]
        + pairs[number >> 40 & 1023]
        + pairs[number >> 30 & 1023]
        + pairs[number >> 20 & 1023]
        + pairs[number >> 10 & 1023]
        + pairs[number & 1023]
    )


def to_int(queue_id: str) -> int:
    """Raises ValueError for what no relay ever wrote."""
    if len(queue_id) == LENGTH and queue_id.isascii() and queue_id.isalnum():
        number = int(queue_id, 32)
        if number >> 63 == 0 and queue_id == queue_id.upper():
            return number
    raise ValueError(f"{queue_id!r} is not a queue id: they look like {from_int(1 << 60)}")


def known_numbers(queue_ids: Iterable[str]) -> list[int]:
    """The numbers of those that are queue ids at all: operators type them."""
    numbers = []
    for queue_id in queue_ids:
        try:
            numbers.append(to_int(queue_id))
        except ValueError:
            continue
    return numbers


def first_after(at: float) -> int:
    """The least number of any id made later than `at` (unix seconds), by a clock that ran well."""
    second = min(max(int(at) - EPOCH, 0) + 1, _SECOND_MAX)
    return second << _SECOND_SHIFT
