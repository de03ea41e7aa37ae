"""What befalls the simulated world while it is in motion, as the seed has it.

Each world has some kinds of trouble and not others, so that a run also shows what one alone does.
"""

from collections.abc import Callable
from random import Random
from typing import Any

from tests.sim.network import Weather
from tests.sim.upstreams import Mood, Upstream

EXTENSIONS = ("PIPELINING", "8BITMIME", "CHUNKING", "DSN", "SIZE 50000000", "ENHANCEDSTATUSCODES")

MAX_CLOCK_ERROR = 300.0
"""Seconds."""


class Disasters:
    """`begin` them, then `end` them all."""

    def __init__(self, simulation: Any) -> None:
        self._world = simulation.world
        self._network = simulation.network
        self._machine = simulation.machine
        self._oracle = simulation.oracle
        self._upstreams: list[Upstream] = simulation.upstreams
        self._random = simulation.world.chance("disasters")
        self._until = 0.0

    def begin(self, until: float) -> None:
        """Which kinds this world has: the share of worlds, and the seconds between two of them."""
        self._until = until
        self._make_weather()
        for upstream in self._upstreams:
            upstream.mood = self._mood(upstream)
        machine = self._machine
        for share, seconds, act in (
            (0.25, 400, machine.crash),
            (0.25, 400, machine.cut_power),
            (0.35, 300, self._die_within),
            (0.20, 400, machine.restart),
            (0.25, 300, self._close_an_upstream),
            (0.25, 300, self._cut_off_a_host),
            (0.15, 500, self._fill_the_disk),
            (0.15, 500, self._make_the_disk_sick),
            (0.10, 300, self._make_the_disk_lie),
            (0.10, 600, self._run_short_of_space),
            (0.15, 600, self._set_the_clock),
        ):
            if self._random.random() < share:
                self._repeat(seconds, act)
        rest = self._world.chance("long rest")
        if rest.random() < 0.25:
            self._world.after(rest.uniform(200, 800), self._rest_long, rest)

    def _repeat(self, seconds: float, act: Callable[[], object]) -> None:
        def happen() -> None:
            if self._world.now < self._until:
                self._world.tell(f"disaster: {act.__name__.strip('_')}")
                act()
                self._repeat(seconds, act)

        self._world.after(self._random.expovariate(1 / seconds), happen)

    def end(self, but_for: str = "") -> None:
        """All is well from now on, but for that upstream: it is dead."""
        self._network.weather = Weather()
        for address in list(self._network.cut_off):
            self._network.mend(address)
        for upstream in self._upstreams:
            upstream.mood = Mood(extensions=upstream.mood.extensions)
            if upstream.name == but_for:
                upstream.is_dead_for_good = True
                upstream.close()
            else:
                upstream.is_dead_for_good = False
                upstream.open()
        machine = self._machine
        machine.make_space()
        disk = machine.disk
        disk.die_after = None
        disk.is_full = disk.is_sick = False
        disk.lies = 0
        machine.ailed_at = self._world.now

    # --- the network and the upstreams --------------------------------------------------------

    def _make_weather(self) -> None:
        random, weather = self._random, self._network.weather
        weather.delay = random.choice((0.0005, 0.01, 0.2))
        weather.slow = random.choice((0.0, 0.02, 0.2))
        weather.slow_delay = random.choice((0.3, 5.0, 40.0))
        weather.split = random.choice((0.0, 0.2, 0.7))
        weather.cut = random.choice((0.0, 0.0, 0.05, 0.3))

    def _mood(self, upstream: Upstream) -> Mood:
        """DSNs must get home: the senders' host refuses nothing for good."""
        random = self._random
        words = tuple(word for word in EXTENSIONS if random.random() < 0.85)
        if "8BITMIME" not in words:
            words = ("8BITMIME", *words)
        mood = Mood(extensions=words)
        if random.random() < 0.7:
            mood.transient = random.choice((0.0, 0.05, 0.3))
            mood.permanent = random.choice((0.0, 0.05, 0.2)) if upstream.name != "back" else 0.0
            mood.drop = random.choice((0.0, 0.02, 0.1))
            mood.drop_after_accepting = random.choice((0.0, 0.0, 0.1, 0.5))
            mood.stall = random.choice((0.0, 0.0, 0.02))
            mood.slow = random.choice((0.0, 0.0, 0.1, 0.5))
        return mood

    def _close_an_upstream(self) -> None:
        upstream = self._random.choice(self._upstreams)
        upstream.close()
        self._world.after(self._random.expovariate(1 / 200), upstream.open)

    def _cut_off_a_host(self) -> None:
        address = self._random.choice(self._upstreams).address
        self._network.cut(address)
        self._world.after(self._random.expovariate(1 / 100), self._network.mend, address)

    # --- the machine ----------------------------------------------------------------------------

    def _rest_long(self, random: Random) -> None:
        """The machine is off until what waits is too old: all of it is due, and expires."""
        self._world.tell("disaster: rest long")
        restarts_after = self._machine.restarts_after
        self._machine.restarts_after = lambda: random.uniform(400, 900)
        self._machine.crash()
        self._machine.restarts_after = restarts_after

    def _die_within(self) -> None:
        self._machine.die_within(
            self._random.randint(0, 60), is_power_cut=self._random.random() < 0.7
        )

    def _fill_the_disk(self) -> None:
        self._machine.disk.is_full = True
        self._world.after(self._random.expovariate(1 / 60), self._heal, "is_full")

    def _make_the_disk_sick(self) -> None:
        self._machine.disk.is_sick = True
        self._world.after(self._random.expovariate(1 / 60), self._heal, "is_sick")

    def _heal(self, what: str) -> None:
        setattr(self._machine.disk, what, False)
        self._machine.ailed_at = self._world.now

    def _make_the_disk_lie(self) -> None:
        """Syncs that say they failed, and did not."""
        self._machine.disk.lies = self._random.randint(1, 3)
        self._machine.ailed_at = self._world.now

    def _run_short_of_space(self) -> None:
        self._machine.run_short_of_space()
        self._world.after(self._random.expovariate(1 / 60), self._machine.make_space)

    def _set_the_clock(self) -> None:
        """To and fro, and never far from the truth for long."""
        self._oracle.clock_error = MAX_CLOCK_ERROR
        self._machine.set_clock(self._random.uniform(-MAX_CLOCK_ERROR, MAX_CLOCK_ERROR))
