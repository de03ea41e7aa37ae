"""What befalls the simulated world while it is in motion, as the seed has it.

Each world has some kinds of trouble and not others, so that a run also shows what one alone does.
"""

from collections.abc import Callable
from typing import Any


class Disasters:
    """`begin` them, then `end` them all."""

    def __init__(self, simulation: Any) -> None:
        self._simulation = simulation
        self._world = simulation.world
        self._machine = simulation.machine
        self._random = simulation.world.chance("disasters")
        self._until = 0.0

    def begin(self, until: float) -> None:
        """Which kinds this world has."""
        self._until = until
        random = self._random
        kinds: list[tuple[float, float, Callable[[], None]]] = [
            # share of the worlds that have it, seconds between two, what
            (0.3, 400, self._machine.crash),
            (0.3, 400, self._machine.cut_power),
            (0.4, 300, self._die_within),
        ]
        for share, seconds, act in kinds:
            if random.random() < share:
                self._repeat(seconds, act)

    def _repeat(self, seconds: float, act: Callable[[], None]) -> None:
        def happen() -> None:
            if self._world.now < self._until:
                act()
                self._repeat(seconds, act)

        self._world.after(self._random.expovariate(1 / seconds), happen)

    def _die_within(self) -> None:
        self._machine.die_within(
            self._random.randint(0, 60), is_power_cut=self._random.random() < 0.7
        )

    def end(self) -> None:
        """All is well from now on."""
        self._machine.disk.die_after = None
