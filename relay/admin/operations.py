"""What an operator can do to the queue, whatever the way the wish came: page by page.

Selections may name millions of messages, so each call does one page and says where the next
begins: memory and time stay bounded, and whoever drives the pages can tell the progress.
Yields plain values that are ready to be JSON; decides nothing about who may ask.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from math import isfinite
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from relay.observe.facts import rfc3339
from relay.queue.ids import known_numbers
from relay.queue.store import LaneState, Listed, ListedRecipient, Selection

SOCKET_NAME = "control.sock"
"""Where in the queue's directory the relay listens for operators."""

PAGE = 500
"""Messages that one call acts on, or lists at most: some milliseconds of the store's time."""

VERBS = ("retry", "hold", "release", "remove")

Json = dict[str, Any]


class BadWish(ValueError):
    """What was asked for makes no sense; the text is for whoever asked."""


class QueueControl(Protocol):
    """The queue as operations need it: running under a manager, or just a spool that was opened."""

    def find(self, selection: Selection, after: str, limit: int) -> Deferred[Sequence[Listed]]: ...

    def hold(self, queue_ids: Sequence[str]) -> Deferred[Sequence[str]]: ...

    def release(self, queue_ids: Sequence[str]) -> Deferred[Sequence[str]]: ...

    def retry(self, queue_ids: Sequence[str]) -> Deferred[Sequence[str]]: ...

    def remove(self, queue_ids: Sequence[str]) -> Deferred[Sequence[str]]: ...

    def lanes(self) -> Deferred[Sequence[LaneState]]: ...

    def hold_lane(self, name: str) -> Deferred[bool]: ...

    def release_lane(self, name: str) -> Deferred[bool]: ...

    def status(self) -> dict[str, object]: ...

    def now(self) -> float:
        """Unix seconds, by the clock that messages are stamped with."""


class AskedQueue(Protocol):
    """What operators ask of a queue, wherever it is: `Operations` says what each means."""

    def page(self, selection: Selection, after: str, limit: int) -> Awaitable[Json]: ...

    def act(self, verb: str, selection: Selection, after: str) -> Awaitable[Json]: ...

    def lanes(self) -> Awaitable[Json]: ...

    def hold_lane(self, name: str) -> Awaitable[bool]: ...

    def release_lane(self, name: str) -> Awaitable[bool]: ...

    def status(self) -> Awaitable[Json]: ...


class AskedRelay(AskedQueue, Protocol):
    """And of all that runs."""

    def reload(self) -> Awaitable[Json]: ...


Reloader = Callable[[], Awaitable[Json]]
"""Takes up a changed configuration. Raises ConfigError: nothing has changed."""


async def _no_reload() -> Json:
    raise BadWish("nothing runs here that could be reloaded")


class Operations:
    """`expire_after`: seconds from acceptance to expiry, to tell `expires_at`."""

    def __init__(
        self, queue: QueueControl, expire_after: float, reload: Reloader = _no_reload
    ) -> None:
        self._queue = queue
        self.expire_after = expire_after
        self._reload = reload

    async def page(self, selection: Selection, after: str, limit: int) -> Json:
        """`messages` from behind `after` on; `after` is where to go on, None at the end."""
        limit = max(1, min(limit, PAGE))
        listed = await self._queue.find(selection, _checked(after), limit)
        return {
            "messages": [self._message(message) for message in listed],
            "after": listed[-1].queue_id if len(listed) == limit else None,
        }

    async def act(self, verb: str, selection: Selection, after: str) -> Json:
        """Retry, hold, release or remove the next page of a selection.

        `done`: the ids it was done to; `after`: where to go on, None at the end; `at`: the time by
        the relay's clock, for `accepted_before` of the pages that follow.
        """
        at = self._queue.now()
        queue_ids, end = await self._next_ids(selection, after)
        act: Callable[[Sequence[str]], Deferred[Sequence[str]]] = getattr(self._queue, verb)
        done = await act(queue_ids) if queue_ids else ()
        return {"done": list(done), "after": end, "at": at}

    async def _next_ids(self, selection: Selection, after: str) -> tuple[list[str], str | None]:
        if selection.queue_ids and selection == Selection(selection.queue_ids):
            return list(selection.queue_ids), None  # named ids need not be looked up first
        listed = await self._queue.find(selection, _checked(after), PAGE)
        ids = [message.queue_id for message in listed]
        return ids, ids[-1] if len(ids) == PAGE else None

    async def lanes(self) -> Json:
        """Every lane with its state and how much waits on it."""
        return {"lanes": [_lane(state) for state in await self._queue.lanes()]}

    async def hold_lane(self, name: str) -> bool:
        """False: there is no such lane."""
        return await self._queue.hold_lane(name)

    async def release_lane(self, name: str) -> bool:
        """False: there is no such lane."""
        return await self._queue.release_lane(name)

    async def reload(self) -> Json:
        """`changes`: the keys that differ; `warnings`. Raises ConfigError."""
        return await self._reload()

    async def status(self) -> Json:
        """What the queue tells of itself, and its lanes."""
        return {**self._queue.status(), **await self.lanes()}

    def _message(self, listed: Listed) -> Json:
        return {
            "id": listed.queue_id,
            "reverse_path": listed.reverse_path,
            "size": listed.size,
            "accepted_at": rfc3339(listed.accepted_at),
            "expires_at": rfc3339(listed.accepted_at + self.expire_after),
            "held": listed.is_held,
            "recipients": [_recipient(recipient) for recipient in listed.recipients],
        }


def _checked(after: str) -> str:
    if after and not known_numbers([after]):
        raise BadWish(f"{after[:40]!r} is not a queue id to go on from")
    return after


def _recipient(listed: ListedRecipient) -> Json:
    is_owed = listed.state in ("waiting", "in_hand")
    return {
        "id": listed.id,
        "forward_path": listed.forward_path,
        "state": listed.state,
        "lane": listed.lane,
        "attempt": listed.attempt,
        "next_attempt_at": rfc3339(listed.next_attempt_at) if is_owed else None,
        "last_reply": listed.last_reply,
    }


def _lane(state: LaneState) -> Json:
    return {
        "name": state.name,
        "waiting": state.waiting,
        "held": state.is_held,
        "paused": state.is_paused,
        "attempt": state.attempt,
        "next_attempt_at": rfc3339(state.next_attempt_at) if state.attempt else None,
        "last_reply": state.last_reply,
    }


def selection_of(wish: Json) -> Selection:
    """A selection from JSON. Raises BadWish."""
    unknown = wish.keys() - _READERS.keys()
    if unknown:
        raise BadWish(
            f"unknown key {min(unknown)!r} in the selection; the keys are {', '.join(_READERS)}"
        )
    chosen = {_READERS[key][0]: _READERS[key][1](key, value) for key, value in wish.items()}
    return replace(Selection(), **chosen)


def wish_of(selection: Selection) -> Json:
    """The JSON that `selection_of` reads."""
    values = {key: getattr(selection, attribute) for key, (attribute, _) in _READERS.items()}
    return {key: value for key, value in values.items() if value not in (None, ())}


def _text(key: str, value: object) -> str:
    if not isinstance(value, str):
        raise BadWish(f"{key!r} must be text")
    return value


def _ids(key: str, value: object) -> tuple[str, ...]:
    ids = value if isinstance(value, list | tuple) else ()
    if not 1 <= len(ids) <= PAGE or not all(isinstance(each, str) for each in ids):
        raise BadWish(f"{key!r} must be a list of 1 to {PAGE} queue ids")
    return tuple(ids)


def _time(key: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise BadWish(f"{key!r} must be a number: unix seconds")
    return float(value)


_READERS: dict[str, tuple[str, Callable[[str, object], Any]]] = {
    "ids": ("queue_ids", _ids),
    "lane": ("lane", _text),
    "sender": ("sender", _text),
    "recipient": ("recipient", _text),
    "accepted_before": ("accepted_before", _time),
}
