"""One simulated world from its seed to its end: who is in it, what befalls them, what must hold.

First all is in motion and everything fails at times; then the faults end, and all mail must be
gone, and with it every trace of it in memory and on disk.
"""

import gc
from collections.abc import Callable
from typing import Any

from twisted.logger import globalLogPublisher

from tests.sim import seams
from tests.sim.authenticating import AuthClient
from tests.sim.clients import Client
from tests.sim.configs import EXPIRE_AFTER, HOSTS, Configs, read_tables, ways
from tests.sim.disaster import Disasters
from tests.sim.exchanges import ExchangeJudge
from tests.sim.filesystem import DiskVfs
from tests.sim.limits import Limits
from tests.sim.login_troubles import LoginTroubles
from tests.sim.logins import SUBMISSION_PORT, Logins
from tests.sim.machine import ADDRESS, Machine
from tests.sim.name_troubles import NameTroubles
from tests.sim.names import DOMAINS, UPSTREAM, Names
from tests.sim.names import HOSTS as MAIL_HOSTS
from tests.sim.network import Network
from tests.sim.operator import Operator
from tests.sim.oracle import Oracle
from tests.sim.pauses import Pauses
from tests.sim.queued import Queued, content_files, read_queue
from tests.sim.reloads import Reloads
from tests.sim.under_way import UnderWay
from tests.sim.upstreams import Mood, Upstream
from tests.sim.world import World

MINUTE = 60.0

BY_MX = dict.fromkeys((*DOMAINS, "east.example"), 1)
"""Where the mail of some clients goes, where there is mail by MX."""

SUBMISSION = (ADDRESS, SUBMISSION_PORT)

IN_MOTION = 20 * MINUTE
"""Seconds in which everything happens."""

SETTLES_WITHIN = 60 * MINUTE
"""Seconds after the end of all faults in which every lane must be empty: the longest backoff (five
minutes and a tenth), a host's skipped time (15 minutes), and a slow last attempt."""

STOPS_WITHIN = 60.0
"""Seconds, with nothing under way."""

_vfs: DiskVfs | None = None


class Simulation:
    """Make one, then `run` it: it returns, or raises world.Violation."""

    def __init__(self, seed: int, show: Callable[[str], object] | None = None) -> None:
        global _vfs
        _vfs = _vfs or DiskVfs()
        seams.number_objects()
        self.world = world = World(seed, show)
        self.network = Network(world)
        self.logins = Logins(world)
        self.names = Names(world)
        configs = Configs(world, self.logins, self.names)
        first = configs.first()
        self.machine = Machine(world, self.network, read_tables(first), self.logins, self.names)
        self.oracle = Oracle(world, EXPIRE_AFTER)
        self.oracle.as_whom = self.logins.as_whom
        self.oracle.routes.announce(ways(first), 0.0)
        self.oracle.routes.settle(0.0)
        self.oracle.image = self.image
        self.oracle.well_since = self.machine.well_since
        self.machine.when_attempted.append(self.oracle.attempts)
        self._image_random = world.chance("image")
        self._seen_state: object = None
        self._seen = Queued()
        _vfs.disks["disk"] = lambda: self.machine.disk
        self.machine.observers.append(self.oracle.heard)
        self.machine.when_cut_short.append(self.oracle.cut_short)
        self.machine.when_started.append(self.oracle.started)
        random = world.chance("world")
        self.upstreams = [
            Upstream(name, host, world, self.network, self.oracle, Mood(), self.logins)
            for name, hosts in HOSTS.items()
            for host in hosts
        ]
        self.clients = [
            Client(number, world, self.network, self.oracle, (ADDRESS, 25))
            for number in range(1, random.randint(3, 10))
        ]
        self.mail_hosts = [
            Upstream(UPSTREAM, address, world, self.network, self.oracle, Mood(), self.logins)
            for address in (MAIL_HOSTS.values() if self.names.is_used else ())
        ]
        self.exchanges = ExchangeJudge(self)
        if self.names.is_used:
            self.oracle.exchanges = self.exchanges
            self.clients += [
                Client(number, world, self.network, self.oracle, (ADDRESS, 25), BY_MX)
                for number in range(51, world.chance("mx clients").randint(52, 56))
            ]
        if self.logins.is_used:
            self.clients += [
                AuthClient(number, world, self.network, self.oracle, SUBMISSION, self.logins)
                for number in range(31, world.chance("auth clients").randint(32, 36))
            ]
        self._dead = random.choice(("east", "west", "quick", "")) if random.random() < 0.4 else ""
        self.operator = Operator(world, self.machine, self.oracle)
        self.reloads = Reloads(self, configs, first)
        self.limits = self._limits()
        self.under_way = UnderWay(self)
        self.disasters = Disasters(self)
        self.login_troubles = LoginTroubles(world, self.logins)
        self.pauses = Pauses(self)
        self.name_troubles = NameTroubles(self)

    def _limits(self) -> Limits:
        limits = Limits(self)
        self.oracle.each_copy = limits.taken
        self.oracle.mail_taken = limits.mail_taken
        self.machine.when_attempted.append(limits.attempt_begins)
        self.machine.when_tried.append(limits.attempt_ends)
        return limits

    def image(self) -> Queued:
        """The queue, if the power failed now. What was read is known while nothing has changed."""
        assert _vfs is not None
        state = self.machine.disk.settled_state
        disk = self.machine.disk.after_power_cut(self._image_random)
        if state is None or state != self._seen_state:
            disk.is_full = disk.is_sick = False
            disk.lies = 0
            _vfs.disks["image"] = lambda: disk
            self._seen_state, self._seen = state, read_queue(disk, "/image")
        return self._seen

    # --- the run --------------------------------------------------------------------------------

    def run(self) -> None:
        globalLogPublisher.addObserver(self._logged)
        collects = gc.isenabled()
        gc.disable()  # when it runs is no part of the world
        try:
            self._run()
        finally:
            if collects:
                gc.enable()
            globalLogPublisher.removeObserver(self._logged)

    def _run(self) -> None:
        world = self.world
        random = world.chance("clients")
        for upstream in (*self.upstreams, *self.mail_hosts):
            upstream.open()
        self.machine.start()
        for client in self.clients:
            client.begin(random.uniform(0.5, IN_MOTION / 2), random.randint(1, 6))
        self.disasters.begin(IN_MOTION)
        self.login_troubles.begin(IN_MOTION)
        self.name_troubles.begin(IN_MOTION)
        self.exchanges.begin()
        self.operator.begin(IN_MOTION)
        self.reloads.begin(IN_MOTION)
        self._run_until(IN_MOTION)
        self.operator.end()
        self.login_troubles.end()
        self.name_troubles.end()
        if self._dead:
            self._see_others_settle()
        self.disasters.end()
        end = world.now + SETTLES_WITHIN
        while world.now < end and self._what_is_left():
            self._run_until(world.now + MINUTE)
        if left := self._what_is_left():
            world.blame(f"not all is over: {left}")
        self.oracle.audit()
        self._raise_fault()
        self._stop()

    def _see_others_settle(self) -> None:
        """One lane is dead: the others must not starve, whatever waits there."""
        world, dead = self.world, self._dead
        self.disasters.end(but_for=dead)
        end = world.now + SETTLES_WITHIN
        while (waiting := self._waiting_beside(dead)) and world.now < end:
            self._run_until(world.now + MINUTE)
        if waiting:
            world.blame(f"{dead} is dead, and others starve: {waiting}")
        self._raise_fault()

    def _waiting_beside(self, dead: str) -> dict[str, int]:
        service: Any = self.machine.service
        if service is None or not service._is_open:
            return {"relay": 1}
        works = service._stage.store._calls._ledger._writes._in_hand.waiting
        return {
            lane: count for lane, count in works.items() if count and lane.partition(":")[0] != dead
        }

    def _stop(self) -> None:
        """As an operator stops it; what is on the disk then is all that it remembers."""
        world, stopped = self.world, []
        self.machine.stop().addCallback(stopped.append)
        world.run(world.now + STOPS_WITHIN)
        if not stopped:
            world.blame("the relay does not stop")
        assert _vfs is not None
        disk = self.machine.disk.after_crash()
        _vfs.disks["image"] = lambda: disk
        rows = read_queue(disk, "/image").rows
        rows["content files"] = content_files(disk)
        if left := {name: count for name, count in rows.items() if count}:
            world.blame(f"not all mail is gone: {left}")
        self._raise_fault()

    def _raise_fault(self) -> None:
        if self.world.fault is not None:
            raise self.world.fault

    def _run_until(self, end: float) -> None:
        """Audits come at any instant."""
        world = self.world
        random = world.chance(f"audits until {end}")
        while world.now < end:
            world.run(min(end, world.now + random.expovariate(1 / 120)))
            self.oracle.audit()
            self.limits.look()
            self.reloads.look_for_left_mail()
            self._raise_fault()
        world.tell(f"{world.events} events")

    def counts(self) -> dict[str, int]:
        """How much happened."""
        oracle = self.oracle
        return {
            "events": self.world.events,
            "messages sent": len(oracle.submissions),
            "acknowledged": sum(each.answer == 250 for each in oracle.submissions.values()),
            "recipients relayed": oracle.relayed,
            "reported": len(oracle.reported),
            "duplicates in the named windows": oracle.duplicates,
            "deaths of the relay": self.machine.deaths,
            "reloads": self.reloads.done,
            "refused reloads": self.reloads.refused,
        }

    # --- what must hold -------------------------------------------------------------------------

    def _what_is_left(self) -> dict[str, int]:
        """At the end nothing waits, and nothing remembers anything."""
        if not self.machine.is_open:  # it may have been started a moment ago
            return {"relay": 1}
        counts = counts_of(self.machine.service)
        counts["clients"] = sum(not client.is_done for client in self.clients)
        counts["connections"] = len(self.network.ends) + len(self.network.connecting)
        return {name: count for name, count in counts.items() if count}

    def _logged(self, event: dict[str, Any]) -> None:
        """The relay met a defect of its own."""
        failure = event.get("log_failure")
        if failure is not None and self.machine.reactor.is_alive:
            self.world.blame(f"a defect was logged: {failure.getTraceback()}")


def counts_of(service: Any) -> dict[str, int]:
    """What the relay keeps in memory of mail and sessions."""
    manager, store = service._stage.manager, service._stage.store
    return {
        "in hand": manager._works_in_hand,
        "octets in hand": manager._octets_in_hand,
        "unrecorded": manager._recorder.waiting,
        "octets coming in": store.buffers.buffered,
        "attempts": service._stage.delivery._running,
        "sessions of clients": sum(
            each.factory.session_count for each in service._reception.listeners
        ),
        "places": service._stage.places._taken.total(),
        "upstream sessions": sum(
            len(f._sessions) + len(f._openings) + len(f._waiting) + len(f._needing_fresh)
            for hop in service._stage.delivery._hops.values()
            for f in hop.factories
        ),
        "lanes in hand": sum(lane.in_hand for lane in manager.lanes),
        "lanes of domains": sum(not lane.is_lasting for lane in manager.lanes),
        "upstreams by a former config": len(service._stage.delivery._retired),
        "clients that wait": sum(len(w._running) for w in service._stage.hybrid._waits.values()),
        "works that wait": store._calls._ledger._writes._in_hand.waiting.total(),
        "works in hand": sum(
            len(works) for works in store._calls._ledger._writes._in_hand._lanes.values()
        ),
    }
