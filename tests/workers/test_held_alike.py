"""Held lanes of several queues, after their number has changed."""

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from relay.workers.held_alike import hold_alike


class Held:
    """A queue, as far as its held lanes go; `told`: what was said to it."""

    def __init__(self, *held: str) -> None:
        self.held = set(held)
        self.told: list[str] = []

    async def lanes(self) -> object:
        return {"lanes": [{"name": name, "held": name in self.held} for name in "abc"]}

    async def hold_lane(self, name: str) -> bool:
        self.told.append(f"hold {name}")
        return True

    async def release_lane(self, name: str) -> bool:
        self.told.append(f"release {name}")
        return True


class AlikeTests(SynchronousTestCase):
    def told(self, *queues: Held) -> list[list[str]]:
        alike = Deferred.fromCoroutine(hold_alike(queues))  # type: ignore[arg-type]
        self.assertIsNone(self.successResultOf(alike))
        return [queue.told for queue in queues]

    def test_as_the_first_has_it(self) -> None:
        told = self.told(Held("a", "b"), Held("a", "b"), Held(), Held("b", "c"))
        self.assertEqual([[], [], ["hold a", "hold b"], ["hold a", "release c"]], told)

    def test_one_alone(self) -> None:
        self.assertEqual([[]], self.told(Held("a")))
