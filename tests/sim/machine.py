"""The machine that the relay runs on: starts it, and takes the power, the disk or the process away.

What runs is the real RelayService. It dies between two events, or in the midst of one: before any
change of the disk. From that instant on nothing it does leaves a trace anywhere.
"""

import traceback
from collections.abc import Callable
from math import inf
from pathlib import Path
from random import Random
from typing import Any, cast

from twisted.internet.defer import Deferred

from relay.config.reading import Config
from relay.notices import Notice
from relay.service.relay import RelayService
from tests.sim import seams
from tests.sim.disk import Disk
from tests.sim.filesystem import SimulatedSystem
from tests.sim.logins import Logins
from tests.sim.names import Names
from tests.sim.network import Network
from tests.sim.reactor import SimulatedReactor
from tests.sim.threads import Latency, SteppedThreads
from tests.sim.world import World

ADDRESS = "10.0.0.1"
PLENTY = 1 << 40
LITTLE = 1 << 20
"""Octets that are free: more than any config asks for, and less."""

FILE = Path("/relay.toml")


class Nonces:
    """In the place of `secrets`."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def token_urlsafe(self, octets: int) -> str:
        return f"{self._random.getrandbits(8 * octets):x}"


class Machine:
    """`heard` is told each notice; `died` each death, once the disk is as it will be found."""

    def __init__(
        self, world: World, network: Network, config: Config, logins: Logins, names: Names
    ) -> None:
        self.names = names
        self.mail_host_chance = world.chance("order of mail hosts")
        self.logins = logins
        self.nonces = Nonces(world.chance("nonces"))
        self.world = world
        self.network = network
        self.config = config
        self.tables: dict[str, Any] = {}  # what a reload finds in the config's file
        self.random = world.chance("machine")
        self.relay_chance: Random = world.chance("relay")
        self.latency = Latency(world.chance("disk latency"))
        self.names_latency = Latency(world.chance("names latency"))
        self.disk = Disk(world.chance("disk"), self._stopped_within)
        self.free_octets = PLENTY
        self.short_since = inf  # of space
        self.checkpoint_pages = self.random.choice((8, 30, 100, 4000))
        self.slice = world.chance("slices").choice((1, 1, 2, 5, 2000))  # rows read in one go
        self.service: RelayService | None = None
        self.ailed_at = 0.0  # the disk, lately
        self.when_attempted: list[seams.Heard] = []  # when an attempt begins
        self.when_tried: list[seams.Heard] = []  # ... ends
        self.starts = 0
        self.deaths = 0
        self.observers: list[Callable[[Notice], None]] = []
        self.when_cut_short: list[Callable[[], None]] = []  # dead, or with what it could not record
        self.when_started: list[Callable[[], None]] = []
        self.restarts_after: Callable[[], float] = lambda: self.random.uniform(0.1, 20)
        self._is_power_cut = False
        self._clock_error = 0.0
        self._is_stopping = False

    # --- life ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the relay on what is on the disk."""
        self.starts += 1
        self._is_stopping = False
        self._may_have_lied = bool(self.disk.lies)
        self._started_at = self.world.now
        self.system = SimulatedSystem(self.disk)
        self.reactor = SimulatedReactor(
            self.world, self.network, ADDRESS, self._broke, self._clock_error
        )
        self.threads = SteppedThreads(self.reactor, self.latency)
        self.questions = SteppedThreads(self.reactor, self.names_latency)
        seams.put_machine(self)
        self.world.tell(f"start {self.starts}")
        self.service = RelayService(self.config, self.reactor, source=FILE)
        seams.watch_attempts(self.service, self._attempt_begins, self._attempt_ends)
        self.service.privilegedStartService()
        self.service.startService()
        for tell in self.when_started:
            tell()

    def stop(self) -> "Deferred[None]":
        """As by SIGTERM."""
        assert self.service is not None
        return self.service.stopService()

    def restart(self) -> None:
        """Stop it, and start it once it has stopped; it may die on the way."""
        service = self.service
        if service is None or self._is_stopping:
            return

        def stopped(_: object) -> None:
            if self.service is service:
                self.reactor.die()
                self.service = None
                if self.is_ill or self.ailed_at >= told_at:
                    self._tell_of_the_end()
                self.disk = self.disk.after_crash()
                self.world.after(1, self.start)

        self.world.tell("stop")
        told_at = self.world.now
        self._is_stopping = True
        self.stop().addCallback(stopped)

    @property
    def is_up(self) -> bool:
        """It runs, and nobody told it to stop."""
        return self.service is not None and not self._is_stopping

    @property
    def is_open(self) -> bool:
        return self.is_up and bool(cast(Any, self.service)._is_open)

    def crash(self) -> None:
        """kill -9, now."""
        if self.service is not None:
            self.world.tell("crash")
            self._die(is_power_cut=False)

    def cut_power(self) -> None:
        if self.service is not None:
            self.world.tell("power cut")
            self._die(is_power_cut=True)

    def die_within(self, changes: int, *, is_power_cut: bool) -> None:
        """Before so many changes of the disk were made."""
        self._is_power_cut = is_power_cut
        self.disk.die_after = changes

    def set_clock(self, error: float) -> None:
        """The wall clock jumps, and is wrong by so many seconds then."""
        self._clock_error = error
        self.reactor.clock_error = error

    def _stopped_within(self) -> None:
        self.reactor.is_alive = False
        self.world.after_event(self._bury)

    def _bury(self) -> None:
        if self.disk.is_frozen:
            self.world.tell("power cut at a change" if self._is_power_cut else "crash at a change")
            self._die(is_power_cut=self._is_power_cut)

    def _die(self, *, is_power_cut: bool) -> None:
        self.deaths += 1
        self.reactor.die()
        self.service = None
        dead = self.disk
        self.disk = dead.after_power_cut(self.random) if is_power_cut else dead.after_crash()
        dead.is_frozen = True
        self._tell_of_the_end()
        self.world.after(self.restarts_after(), self.start)

    def _tell_of_the_end(self) -> None:
        for tell in self.when_cut_short:
            tell()

    def _attempt_begins(self, lane: str, queue_id: str) -> None:
        for tell in self.when_attempted:
            tell(lane, queue_id)

    def _attempt_ends(self, lane: str, queue_id: str) -> None:
        for tell in self.when_tried:
            tell(lane, queue_id)

    # --- the disk's health --------------------------------------------------------------------

    def run_short_of_space(self) -> None:
        self.free_octets = LITTLE
        self.short_since = min(self.short_since, self.world.now)

    def make_space(self) -> None:
        self.free_octets = PLENTY
        self.short_since = inf

    @property
    def is_ill(self) -> bool:
        disk = self.disk
        return disk.is_full or disk.is_sick or bool(disk.lies)

    def well_since(self) -> float:
        """`infinity`: it is not."""
        return inf if self.is_ill else self.ailed_at

    # --- what the relay asks of it --------------------------------------------------------------

    def heard(self, notice: Notice) -> None:
        """Nobody hears a dead one."""
        if self.reactor.is_alive:
            self.world.tell(repr(notice))
            for observe in self.observers:
                observe(notice)

    def refused_to_start(self, status: int) -> None:
        """It may not, on a disk that is ill; somebody starts it again."""
        is_excused = self.disk.is_full or self.disk.is_sick or self._may_have_lied
        if not (is_excused or self.ailed_at >= self._started_at):
            self.world.blame(f"the relay would not start (status {status})")
        self.world.tell("refused to start")
        self._die(is_power_cut=False)

    def _broke(self, error: Exception) -> None:
        """An exception that nobody caught is a fault, whatever else works."""
        if self.reactor.is_alive:
            self.world.blame("".join(traceback.format_exception(error)))
