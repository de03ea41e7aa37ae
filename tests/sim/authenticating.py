"""Simulated clients that must log in before they send: most do, some try all the same.

What they may expect is told by the users as they were while the relay looked at their password.
"""

from typing import Any

from tests.sim.clients import Client, Session, Talk
from tests.sim.logins import NAMES, Logins, may_send
from tests.sim.mail import Submission
from tests.sim.network import Network
from tests.sim.oracle import Oracle
from tests.sim.sasl import MECHANISMS, client_side, decoded, encoded
from tests.sim.world import World

KNOWN_WRONG_FOR = 30.0
"""Seconds in which a password that was wrong need not be looked at again: ten of the relay's own,
whose clock may go at half its speed, and some for the way."""


class AuthClient(Client):
    """At the listener where nobody is trusted for his address."""

    def __init__(
        self,
        number: int,
        world: World,
        network: Network,
        oracle: Oracle,
        target: tuple[str, int],
        logins: Logins,
    ) -> None:
        super().__init__(number, world, network, oracle, target)
        self.logins = logins

    def session(self, talk: Talk) -> Session:
        return AuthSession(self, talk)


class AuthSession(Session):
    """`_user`: who it is, proven. `_may_be`: the patterns that his reverse-path may have to fit."""

    def __init__(self, client: AuthClient, talk: Talk) -> None:
        super().__init__(client, talk)
        self._is_extended = True
        self._logins = client.logins
        self._world = client.world
        self._user = ""
        self._may_be: list[tuple[str, ...]] = []

    async def introduce(self) -> None:
        for _ in range(self._random.choice((0, 1, 1, 1, 1, 2, 4))):
            if not self._user:
                await self._log_in()

    def prepare(self, submission: Submission) -> None:
        submission.user = self._user
        may = [may_send(each, submission.reverse_path) for each in self._may_be]
        submission.may_go = any(may)
        submission.must_go = bool(may) and all(may)

    # --- AUTH -----------------------------------------------------------------------------------

    async def _log_in(self) -> None:
        random = self._random
        name = random.choice((*NAMES, *NAMES, "nobody"))
        password = self._logins.users.now(name).password if name != "nobody" else ""
        if not password or random.random() < 0.25:
            password = random.choice(("wrong", "secret 1", "x"))
        mechanism = random.choice(MECHANISMS)
        since = self._world.now
        code = await self._exchange(mechanism, name, password)
        self._judge(code, name, password, since)

    async def _exchange(self, mechanism: str, name: str, password: str) -> int:
        """The final reply's code."""
        exchange: Any = client_side(mechanism, name, password, self._random)
        first = next(exchange)
        command = f"AUTH {mechanism}" if first is None else f"AUTH {mechanism} {encoded(first)}"
        await self._say(command.encode())
        while True:
            code, text = await self._talk.reply()
            if code != 334:
                return code
            if self._random.random() < 0.02:
                await self._say(b"*")
                continue
            await self._say(encoded(exchange.send(decoded(text)) or "").encode())

    def _judge(self, code: int, name: str, password: str, since: float) -> None:
        users = self._logins.users
        right = [each for each in users.then(name, since) if each.password == password]
        wrong = [
            each for each in users.then(name, since - KNOWN_WRONG_FOR) if each.password != password
        ]
        if code == 235:
            self._user = name
            # changed in the midst of it: let in as before, held to the senders of now
            self._may_be = [each.senders for each in users.then(name, since)]
            if not right:
                self._world.blame(f"{name} was let in with a wrong password")
        elif code == 535:
            if right and not wrong:
                self._world.blame(f"{name} was not let in")
        elif code not in (421, 454, 501):
            self._world.blame(f"{code} to AUTH")
