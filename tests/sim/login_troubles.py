"""What befalls logins: passwords and users change, upstreams refuse who was welcome, or all."""

from collections.abc import Callable

from tests.sim.logins import NAMES, Logins
from tests.sim.world import World

REFUSALS = (
    "535 5.7.8 wrong",
    "535 5.7.139 not any more",
    "454 4.7.0 later",
    "454 4.7.0 later",
)


class LoginTroubles:
    """`begin` them, then `end` them all; none in a world without logins."""

    def __init__(self, world: World, logins: Logins) -> None:
        self._world = world
        self._logins = logins
        self._random = world.chance("login troubles")
        self._until = 0.0

    def begin(self, until: float) -> None:
        self._until = until
        if not self._logins.is_used:
            return
        for share, seconds, act in (
            (0.6, 200, self._change_a_user),
            (0.5, 400, self._change_a_password),
            (0.5, 400, self._refuse),
        ):
            if self._random.random() < share:
                self._repeat(seconds, act)

    def _repeat(self, seconds: float, act: Callable[[], object]) -> None:
        def happen() -> None:
            if self._world.now < self._until:
                self._world.tell(f"login trouble: {act.__name__.strip('_')}")
                act()
                self._repeat(seconds, act)

        self._world.after(self._random.expovariate(1 / seconds), happen)

    def end(self) -> None:
        """All who should be let in are."""
        self._logins.refuses.clear()
        for user in self._logins.accounts:
            self._file(user)

    def _change_a_user(self) -> None:
        name = self._random.choice(NAMES)
        self._logins.users.change(name, is_there=self._random.random() < 0.8)

    def _change_a_password(self) -> None:
        """At an upstream; the relay's file follows later."""
        if self._logins.accounts:
            user = self._random.choice(list(self._logins.accounts))
            self._logins.accounts[user].taken += "1"
            self._world.after(self._random.expovariate(1 / 300), self._file, user)

    def _file(self, user: str) -> None:
        account = self._logins.accounts[user]
        if account.filed != account.taken:
            account.filed = account.taken
            account.version += 1

    def _refuse(self) -> None:
        if self._logins.words:
            upstream = self._random.choice(list(self._logins.words))
            self._logins.refuses[upstream] = self._random.choice(REFUSALS)
            seconds = self._random.expovariate(1 / 400)
            self._world.after(seconds, self._logins.refuses.pop, upstream, None)
