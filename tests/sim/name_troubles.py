"""What befalls mail by MX: DNS changes and fails, mail hosts have their moods and go away."""

from collections.abc import Callable, Sequence
from typing import Any

from tests.sim.names import DOMAINS, HOSTS, KINDS
from tests.sim.upstreams import Mood, Upstream


class NameTroubles:
    """`begin` them, then `end` them all; none in a world without such mail."""

    def __init__(self, simulation: Any) -> None:
        self._world = simulation.world
        self._network = simulation.network
        self._names = simulation.names
        self._hosts: Sequence[Upstream] = simulation.mail_hosts
        self._random = simulation.world.chance("name troubles")
        self._until = 0.0

    def begin(self, until: float) -> None:
        self._until = until
        if not self._names.is_used:
            return
        for host in self._hosts:
            host.mood = self._mood()
        for share, seconds, act in (
            (0.7, 150, self._change),
            (0.5, 150, self._hide),
            (0.3, 300, self._close),
            (0.3, 300, self._cut_off),
        ):
            if self._random.random() < share:
                self._repeat(seconds, act)

    def _repeat(self, seconds: float, act: Callable[[], object]) -> None:
        def happen() -> None:
            if self._world.now < self._until:
                act()
                self._repeat(seconds, act)

        self._world.after(self._random.expovariate(1 / seconds), happen)

    def end(self) -> None:
        """All is known, and every host takes mail."""
        self._names.settle()
        for host in self._hosts:
            self._network.mend(host.address)
            host.mood = Mood(extensions=host.mood.extensions)
            host.open()

    def _mood(self) -> Mood:
        random, mood = self._random, Mood()
        if random.random() < 0.5:
            mood.transient = random.choice((0.0, 0.1))
            mood.permanent = random.choice((0.0, 0.1))
            mood.drop = random.choice((0.0, 0.1))
            mood.drop_after_accepting = random.choice((0.0, 0.2))
            mood.slow = random.choice((0.0, 0.2))
        return mood

    def _change(self) -> None:
        self._names.change(self._random.choice(DOMAINS), self._random.choice(KINDS))

    def _hide(self) -> None:
        host = self._random.choice(tuple(HOSTS))
        self._world.tell(f"DNS: nobody knows {host}")
        self._names.hide(host, self._random.expovariate(1 / 100))
        self._blot(HOSTS[host])

    def _close(self) -> None:
        host = self._random.choice(self._hosts)
        host.close()
        self._world.after(self._random.expovariate(1 / 200), host.open)

    def _cut_off(self) -> None:
        host = self._random.choice(self._hosts)
        self._network.cut(host.address)
        self._world.after(self._random.expovariate(1 / 100), self._network.mend, host.address)
        self._blot(host.address)

    def _blot(self, address: str) -> None:
        for host in self._hosts:
            if host.address == address:
                host.is_spotless = False
