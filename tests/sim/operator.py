"""The simulated operator: holds, releases, removes and retries, by the relay's own operations."""

from typing import Any

from twisted.internet.defer import Deferred

from relay.admin.operations import BadWish
from relay.queue.store import Selection, StoreFailed
from tests.sim.machine import Machine
from tests.sim.oracle import Oracle, token_in
from tests.sim.world import World


class Operator:
    """Meddles now and then; at the end everything is released."""

    def __init__(self, world: World, machine: Machine, oracle: Oracle) -> None:
        self._world = world
        self._machine = machine
        self._oracle = oracle
        self._random = world.chance("operator")
        self._meddles = self._random.random() < 0.5
        self._until = 0.0
        self._held_lanes: dict[str, None] = {}

    def begin(self, until: float) -> None:
        self._until = until
        if self._meddles:
            self._next()

    def _next(self) -> None:
        self._world.after(self._random.expovariate(1 / 240), self._meddle)

    def _meddle(self) -> None:
        if self._world.now < self._until:
            self._do(self._random.choice(("hold", "release", "retry", "remove", "lane")))
            self._next()

    def end(self) -> None:
        """Whatever was held is let go."""
        self._world.after(1, self._let_go)

    def _let_go(self) -> None:
        if not self._machine.is_up or not self._is_open():
            self._world.after(1, self._let_go)
            return
        self._do("release all")

    def _is_open(self) -> bool:
        service: Any = self._machine.service
        return bool(service._is_open)

    def _do(self, what: str) -> None:
        if self._machine.is_up and self._is_open():
            self._world.tell(f"operator: {what}")
            done = Deferred.fromCoroutine(self._act(self._machine.service, what))
            done.addErrback(self._failed, what)

    def _failed(self, reason: Any, what: str) -> None:
        reason.trap(StoreFailed, BadWish)  # a lane may be gone by a reload
        if what == "release all":
            self._world.after(1, self._let_go)

    async def _act(self, service: Any, what: str) -> None:
        operations = service.operations
        if what == "lane":
            lane = self._random.choice(("east", "west", "quick", "through", "back"))
            await self._set_lane(operations, lane, self._random.choice(("hold", "release")))
        elif what == "release all":
            for lane in list(self._held_lanes):
                await self._set_lane(operations, lane, "release")
                self._held_lanes.pop(lane, None)
            await operations.act("release", Selection(), "")
        else:
            await self._act_on_some(operations, what)

    async def _set_lane(self, operations: Any, lane: str, verb: str) -> None:
        if verb == "hold":
            self._held_lanes[lane] = None
        await (operations.hold_lane if verb == "hold" else operations.release_lane)(lane)

    async def _act_on_some(self, operations: Any, verb: str) -> None:
        page = await operations.page(Selection(), "", 100)
        chosen = []
        for message in page["messages"]:
            if self._random.random() < 0.3:
                submission = self._oracle.submissions.get(
                    token_in(message["recipients"][0]["forward_path"])
                )
                if verb == "remove":
                    if submission is None or message["reverse_path"] != submission.reverse_path:
                        continue
                    submission.removed = True
                chosen.append(message["id"])
        if chosen:
            self._world.tell(f"operator: {verb} {' '.join(chosen)}")
            await operations.act(verb, Selection(tuple(chosen)), "")
