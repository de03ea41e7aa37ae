"""The simulated operator changes the config's file and has the running relay read it.

A crash may come at any point of that: the next start reads the same file. A bad file is put right
once the relay has refused it.
"""

from typing import Any

from twisted.internet.defer import Deferred

from relay.config import Config, ConfigError
from tests.sim.configs import Configs, Tables, read_tables, ways
from tests.sim.ways import MOVED_WITHIN, Period

ATTEMPT = 1200.0
"""Seconds that a slow attempt may take, host after host."""


class Reloads:
    """`done` and `refused`: how often the relay took a config, and would not."""

    def __init__(self, simulation: Any, configs: Configs, first: Tables) -> None:
        self._world = simulation.world
        self._machine = simulation.machine
        self._oracle = simulation.oracle
        self._configs = configs
        self._logins = simulation.logins
        self._tables = first
        self._random = simulation.world.chance("reloads")
        self._until = 0.0
        self._is_busy = False
        self._left_since: dict[str, float] = {}  # lanes of removed upstreams with mail
        self._former: list[tuple[float, int, Config]] = []  # until when; of which process
        self.done = self.refused = 0
        self._machine.when_started.append(self._started)

    def begin(self, until: float) -> None:
        self._until = until
        if self._random.random() < 0.5:
            self._next()

    def _next(self) -> None:
        self._world.after(self._random.expovariate(1 / 150), self._reload)

    def _reload(self) -> None:
        if self._world.now >= self._until:
            return
        if self._machine.is_open and not self._is_busy:
            if self._random.random() < 0.2:
                self._try_bad(self._configs.bad(self._tables))
            else:
                self._use(self._configs.another(self._tables))
        self._next()

    def _try_bad(self, tables: Tables) -> None:
        self._world.tell("operator: reload of a bad config")
        before = self._machine.service._config

        def refused(why: Any) -> None:
            why.trap(ConfigError)
            self.refused += 1

        def check(_: object) -> None:
            if service._config is not before:
                self._world.blame("a bad config was taken")

        service = self._machine.service
        self._machine.tables = tables
        self._ask().addErrback(refused).addCallback(check)
        self._machine.tables = self._tables

    def _use(self, tables: Tables) -> None:
        machine, world = self._machine, self._world
        service = machine.service
        self._former.append((world.now, machine.starts, machine.config))
        self._tables = machine.tables = tables
        machine.config = read_tables(tables)
        self._oracle.routes.announce(ways(tables), world.now)
        world.tell(f"operator: reload {ways(tables)} {[u['name'] for u in tables['upstream']]}")
        self._is_busy = True

        def done(_: object) -> None:
            self._is_busy = False
            if machine.service is service:
                world.tell("reloaded")
                self.done += 1
                self._in_force()

        def failed(why: Any) -> None:
            """It could not: the disk is ill, or it stops. Somebody asks again."""
            why.trap(ConfigError)
            self._is_busy = False
            world.tell(f"not reloaded: {why.getErrorMessage()}")
            world.after(5, self._again)

        self._ask().addCallbacks(done, failed)

    def _again(self) -> None:
        if self._machine.is_open and self._machine.service._config != self._machine.config:
            self._use(self._tables)

    def _ask(self) -> "Deferred[Any]":
        return Deferred.fromCoroutine(self._machine.service.operations.reload())

    def _started(self) -> None:
        """By the file as it is."""
        self._is_busy = False
        self._left_since.clear()
        self._in_force()

    def _in_force(self) -> None:
        """The last of the routes are; waiting mail follows."""
        routes, world = self._oracle.routes, self._world
        routes.settle(world.now)
        world.after(MOVED_WITHIN, self._move, routes.last, self._machine.service)

    def _move(self, to: Period, service: Any) -> None:
        """Once the disk was well for so long. Each start begins anew."""
        machine, world = self._machine, self._world
        if machine.service is not service:
            return
        if world.now < machine.well_since() + MOVED_WITHIN:
            world.after(MOVED_WITHIN, self._move, to, service)
        else:
            self._oracle.routes.move(to, world.now)

    def look_for_left_mail(self) -> None:
        """In lanes of upstreams that are gone nothing waits, but for a while."""
        machine, now = self._machine, self._world.now
        if machine.is_ill or self._is_busy or not machine.is_open:
            self._left_since.clear()
            return
        in_hand = machine.service._stage.store._calls._ledger._writes._in_hand
        names = {each.name for each in machine.config.upstreams}
        left = {
            lane
            for lane, count in in_hand.waiting.items()
            if lane.partition(":")[0] not in names and count > len(in_hand._lanes.get(lane, ()))
        }
        for lane in [lane for lane in self._left_since if lane not in left]:
            del self._left_since[lane]
        for lane in sorted(left):
            if now - self._left_since.setdefault(lane, now) > MOVED_WITHIN:
                self._world.blame(f"mail was left behind in {lane}, which is gone")

    def configs(self, *, of_any_process: bool = False) -> list[Config]:
        """That in force, and those by which what was under way at a reload may end. What a process
        sent may arrive when it is gone."""
        machine, now = self._machine, self._world.now
        recent = [
            config
            for until, start, config in self._former
            if now - until < ATTEMPT and (of_any_process or start == machine.starts)
        ]
        return [machine.config, *recent]

    def most_sessions(self, name: str) -> int:
        """With a host of it."""
        return self._logins.lanes_of(name) * sum(
            upstream.max_connections
            for config in self.configs()
            for upstream in config.upstreams
            if upstream.name == name
        )
