"""Several queues as one: what `Operations` does, done to each worker's queue, answers merged.

Pages of a list are merged by queue id, so that they come in the order of time; acting goes through
one queue after the other. One that has trouble fails the request: half an answer would mislead.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import reduce
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, FirstError, gatherResults

from relay.admin.operations import PAGE, AskedQueue, BadWish, Json, Reloader
from relay.outbound.identity.account import NOT_TRIED
from relay.queue.store import Selection

T = TypeVar("T")

STATES = ("tls", "auth", "since", "why")
"""Columns of a status row that tell of a state rather than name it."""


class QueueAway(Exception):
    """One of the queues cannot be asked at the moment. The text is for operators; `whose` names
    the worker."""

    def __init__(self, text: str, whose: str) -> None:
        super().__init__(text)
        self.whose = whose


class Several:
    """See `Operations` for each method. `queues` yields all of them by their numbers, or raises
    QueueAway; `there` those that can be asked at the moment."""

    def __init__(
        self,
        queues: Callable[[], Mapping[int, AskedQueue]],
        there: Callable[[], Mapping[int, AskedQueue]] | None = None,
        more_status: Callable[[], Json] = dict,
        reload: Reloader | None = None,
    ) -> None:
        self._reload = reload
        self._queues = queues
        self._there = there or queues
        self._more_status = more_status

    async def page(self, selection: Selection, after: str, limit: int) -> Json:
        limit = max(1, min(limit, PAGE))
        pages = await self._each(lambda queue: queue.page(selection, after, limit))
        found = [message for page in pages for message in page["messages"]]
        found.sort(key=lambda message: message["id"])
        is_more = len(found) > limit or any(page["after"] is not None for page in pages)
        found = found[:limit]
        return {"messages": found, "after": found[-1]["id"] if found and is_more else None}

    async def act(self, verb: str, selection: Selection, after: str) -> Json:
        """`after` is "NUMBER:ID": the queue that is being gone through, and where in it. One that
        is empty and goes meanwhile makes no other one's turn another."""
        number, place = _place(after)
        queues = self._queues()
        left = sorted(each for each in queues if each >= number)
        if not left:
            return {"done": [], "after": None, "at": 0.0}
        current = left.pop(0)
        answer = await queues[current].act(verb, selection, place if current == number else "")
        if answer["after"] is not None:
            return {**answer, "after": f"{current}:{answer['after']}"}
        return {**answer, "after": f"{left[0]}:" if left else None}

    async def lanes(self) -> Json:
        return _all_lanes(await self._each(lambda queue: queue.lanes()))

    async def hold_lane(self, name: str) -> bool:
        return any(await self._each(lambda queue: queue.hold_lane(name)))

    async def release_lane(self, name: str) -> bool:
        return any(await self._each(lambda queue: queue.release_lane(name)))

    async def reload(self) -> Json:
        """All of them, or none."""
        if self._reload is None:
            raise BadWish("nothing runs here that could be reloaded")
        return await self._reload()

    async def status(self) -> Json:
        """Of those that are there: it is what one looks at when one is not."""
        told = await _ask_all(self._there().values(), _status_of)
        merged: Json = reduce(_one_status, told, self._more_status())
        return {**merged, **_all_lanes(told)}

    async def _each(self, ask: Callable[[AskedQueue], Awaitable[T]]) -> list[T]:
        return await _ask_all(self._queues().values(), ask)


async def _status_of(queue: AskedQueue) -> Json:
    """One that gives no answer is an alarm: what the others say is worth more than none."""
    try:
        return await queue.status()
    except QueueAway as away:
        alarm = {"alarm": f"no answer from {away.whose}", "since": "", "why": str(away)}
        return {"lanes": [], "alarms": [alarm]}


async def _ask_all(
    queues: Iterable[AskedQueue], ask: Callable[[AskedQueue], Awaitable[T]]
) -> list[T]:
    try:
        answers: list[T] = await gatherResults(
            [Deferred.fromCoroutine(_answer(ask(queue))) for queue in queues],
            consumeErrors=True,
        )
    except FirstError as error:
        error.subFailure.raiseException()
    return answers


async def _answer(asked: Awaitable[T]) -> T:
    return await asked


def _place(after: str) -> tuple[int, str]:
    """Raises BadWish."""
    number, colon, place = (after or "0:").partition(":")
    if not (colon and number.isascii() and number.isdigit() and len(number) <= 3):
        raise BadWish(f"{after[:40]!r} is no place to go on from")
    return int(number), place


def _all_lanes(answers: Sequence[Json]) -> Json:
    by_name: dict[str, Json] = {}
    for answer in answers:
        for lane in answer["lanes"]:
            known = by_name.get(lane["name"])
            by_name[lane["name"]] = lane if known is None else _one_lane(known, lane)
    return {"lanes": [by_name[name] for name in sorted(by_name)]}


def _one_lane(one: Json, other: Json) -> Json:
    """A lane as all workers together see it: failing where one finds it so."""
    worse = max(one, other, key=lambda lane: int(lane["attempt"]))
    times = [lane["next_attempt_at"] for lane in (one, other) if lane["next_attempt_at"]]
    return {
        **worse,
        "waiting": one["waiting"] + other["waiting"],
        "held": one["held"] or other["held"],
        "paused": one["paused"] or other["paused"],
        "next_attempt_at": min(times, default=None),
    }


def _one_status(one: Json, other: Json) -> Json:
    """Numbers are summed, what must hold for all is asked of all; lists of rows are merged."""
    merged = dict(one)
    for key, value in other.items():
        known = one.get(key)
        if known is None:
            merged[key] = value
        elif isinstance(value, bool):
            merged[key] = known and value
        elif isinstance(value, int | float):
            merged[key] = known + value
        elif isinstance(value, list):
            merged[key] = _one_table(known, value)
        elif known in ("", NOT_TRIED):
            merged[key] = value
    return merged


def _one_table(one: list[Json], other: list[Json]) -> list[Json]:
    """Rows of the same name are one row, their numbers summed. A name is all the texts of a row,
    but for one that tells of a state."""
    by_name: dict[tuple[Any, ...], Json] = {}
    for row in (*one, *other):
        name = tuple(
            value for key, value in row.items() if isinstance(value, str) and key not in STATES
        )
        known = by_name.get(name)
        by_name[name] = row if known is None else _one_status(known, row)
    return list(by_name.values())
