"""A lane that is held is so in every queue: also in one that another number of workers has begun
or left, which did not hear what operators said meanwhile."""

from collections.abc import Iterable
from typing import Any

from relay.admin.operations import AskedQueue


async def hold_alike(queues: Iterable[AskedQueue]) -> None:
    """As the first one has it, which is there whatever the number is. Raises StoreFailed, or
    QueueAway."""
    first, *others = queues
    held = _held(await first.lanes())
    for queue in others:
        here = _held(await queue.lanes())
        for name in sorted(held - here):
            await queue.hold_lane(name)
        for name in sorted(here - held):
            await queue.release_lane(name)


def _held(answer: Any) -> frozenset[str]:
    return frozenset(lane["name"] for lane in answer["lanes"] if lane["held"])
