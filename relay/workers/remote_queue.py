"""A worker's queue as its supervisor asks it, over the channel."""

from typing import Any

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from relay.admin.operations import wish_of
from relay.admin.several import QueueAway
from relay.queue.store import Selection, StoreFailed
from relay.workers.channel import AskFailed, Channel, Gone

ANSWER_TIMEOUT = 20.0
"""Seconds that a worker has to do a page of what operators ask for."""


class RemoteQueue:
    """A worker's queue, as `relay.admin.several` wants it. Fails with StoreFailed or QueueAway."""

    def __init__(self, number: int, channel: Channel, clock: IReactorTime) -> None:
        self._number = number
        self._channel = channel
        self._clock = clock

    def page(self, selection: Selection, after: str, limit: int) -> Deferred[Any]:
        return self._ask("page", wish_of(selection), after, limit)

    def act(self, verb: str, selection: Selection, after: str) -> Deferred[Any]:
        return self._ask("act", verb, wish_of(selection), after)

    def lanes(self) -> Deferred[Any]:
        return self._ask("lanes")

    def hold_lane(self, name: str) -> Deferred[Any]:
        return self._ask("hold_lane", name)

    def release_lane(self, name: str) -> Deferred[Any]:
        return self._ask("release_lane", name)

    def status(self) -> Deferred[Any]:
        return self._ask("status")

    def _ask(self, name: str, *arguments: object) -> Deferred[Any]:
        asked = self._channel.ask(name, *arguments)
        return asked.addTimeout(ANSWER_TIMEOUT, self._clock).addErrback(self._failed)

    def _failed(self, reason: Failure) -> None:
        if reason.check(Gone):
            raise started_soon(self._number)
        if reason.check(TimeoutError):
            worker = f"worker {self._number}"
            raise QueueAway(
                f"{worker} has not answered for {ANSWER_TIMEOUT:.0f} s: it hangs, or has far too"
                " much to do; one that is killed is started again, and loses nothing",
                worker,
            )
        reason.trap(AskFailed)
        raise StoreFailed(reason.getErrorMessage())


def started_soon(number: int) -> QueueAway:
    """It has ended, or has not begun."""
    worker = f"worker {number}"
    return QueueAway(
        f"{worker} is being started; ask again in a few seconds (relayctl status)", worker
    )
