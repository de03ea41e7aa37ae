"""Attempts under way: no message is tried twice at once for a lane, nor given up while it is tried.

Who is told of a failure sends again, and a copy that goes out meanwhile is one too many.
"""

from collections import Counter
from typing import Any

from relay.mail.outcome import Failed
from relay.notices import Attempted, Notice
from relay.queue.lane_book import EASED, SEPARATOR, upstream_of

EXPIRED = "4.4.7"


class UnderWay:
    """Hears of attempts, and of what is told."""

    def __init__(self, simulation: Any) -> None:
        self._world = simulation.world
        self._attempts: Counter[tuple[str, str]] = Counter()
        machine = simulation.machine
        machine.when_attempted.append(self._begins)
        machine.when_tried.append(self._ends)
        machine.observers.append(self._heard)
        machine.when_cut_short.append(self._attempts.clear)

    def _begins(self, lane: str, queue_id: str) -> None:
        self._attempts[lane, queue_id] += 1
        if self._attempts[lane, queue_id] > 1:
            self._world.blame(f"{queue_id} is tried twice at once for {lane}")

    def _ends(self, lane: str, queue_id: str) -> None:
        self._attempts.subtract([(lane, queue_id)])
        if self._attempts[lane, queue_id] <= 0:
            del self._attempts[lane, queue_id]

    def _heard(self, notice: Notice) -> None:
        """Of a lane the log tells its upstream alone; one of a domain has the recipient's."""
        if isinstance(notice, Attempted) and isinstance(notice.outcome, Failed):
            if notice.outcome.reply.status != EXPIRED:
                return
            for lane, queue_id in self._attempts:
                is_there = upstream_of(lane) == notice.upstream and may_bear(lane, notice.recipient)
                if queue_id == notice.queue_id and is_there:
                    self._world.blame(f"{queue_id} was given up while it was tried")


def may_bear(lane: str, recipient: str) -> bool:
    domain = lane.partition(SEPARATOR)[2].removesuffix(EASED)
    return "." not in domain or domain == recipient.partition("@")[2]
