"""Who may log in as whom, and when: the relay's users, and its accounts at upstreams.

Both change in the midst of it. What files would hold of them is told here, too: the relay's users
file, and the files of its passwords.
"""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import inf
from typing import Any

from argon2 import PasswordHasher

from relay.smtp.sasl import scram
from relay.users.file import Users, UsersUnusable, Version
from relay.users.record import User
from tests.sim.sasl import ITERATIONS, MECHANISMS
from tests.sim.world import World

SUBMISSION_PORT = 587

HASHER = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
"""argon2id as it is used, but for its slowness."""

NAMES = ("ann", "bob", "cat")

SENDERS = ((), (), ("*@back.example",), ("*@back.example", "<>"), ("s.*x1@back.example",))
"""Whose reverse-paths a user may have; (): any."""


@dataclass
class Entry:
    """A user, for a while. `password` "": there is none."""

    password: str
    senders: tuple[str, ...]
    begin: float
    end: float = inf


class UsersThen:
    """Of the relay; `version` grows with each change."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._random = world.chance("users")
        self._entries: dict[str, list[Entry]] = {name: [] for name in NAMES}
        self._last = 0
        self.version = 1
        for name in NAMES:
            self.change(name)

    def change(self, name: str, *, is_there: bool = True) -> None:
        """Another password, other senders."""
        entries, now = self._entries[name], self._world.now
        if entries:
            entries[-1].end = now
        self._last += 1
        self.version += 1
        password = f"secret {self._last}" if is_there else ""
        entries.append(Entry(password, self._random.choice(SENDERS), now))

    def then(self, name: str, since: float) -> list[Entry]:
        """What was so at some time since then."""
        return [each for each in self._entries.get(name, ()) if each.end >= since]

    def now(self, name: str) -> Entry:
        return self._entries[name][-1]

    def read(self, _: object) -> tuple[Users, Version]:
        """In the place of reading the file."""
        users = {}
        for name in NAMES:
            entry = self.now(name)
            if entry.password:
                keys = scram.derive_keys(entry.password, name.encode(), ITERATIONS)
                hashed = HASHER.hash(entry.password)
                users[name] = User(name, hashed, keys, entry.senders)
        return Users(b"seed", users, ITERATIONS), self.version_of(None)

    def version_of(self, _: object) -> Version:
        return Version(1, 1, self.version)


def may_send(senders: tuple[str, ...], reverse_path: str) -> bool:
    """Whether a user with these patterns may send from there."""
    if not senders:
        return True
    return any(fnmatchcase(reverse_path or "<>", each) for each in senders)


@dataclass
class Account:
    """At an upstream: the password that it takes, and the one in the relay's file."""

    taken: str
    filed: str
    version: int = 1


class Logins:
    """`is_used`: this world has any of it. `refuses`: what an upstream answers to each login."""

    def __init__(self, world: World) -> None:
        self._random = random = world.chance("logins")
        self.is_used = random.random() < 0.35
        self.users = UsersThen(world)
        self.listener_auth = random.choice(("required", "offered"))
        self.max_failures = random.choice((2, 20))
        self._remember_for = random.choice(("0s", "5m"))
        self.accounts: dict[str, Account] = {}  # by user's name at an upstream
        self._identities: dict[str, dict[str, Any]] = {}
        self.refuses: dict[str, str] = {}
        self.words: dict[str, tuple[str, ...]] = {}  # by upstream: the mechanisms that it offers
        if self.is_used:
            self._open_accounts()

    def _open_accounts(self) -> None:
        random = self._random
        for upstream in ("east", "west", "quick", "through"):
            if random.random() < 0.5:
                self.words[upstream] = tuple(random.sample(MECHANISMS, random.randint(1, 3)))
                self._open(upstream)
                if random.random() < 0.5:
                    test = random.choice((("senders", ["s.*x1@*"]), ("users", ["ann"])))
                    self._identities[upstream] = {"name": "vip", test[0]: test[1]}
                    self._open(f"{upstream}.vip")

    def _open(self, user: str) -> None:
        self.accounts[user] = Account(f"{user} 1", f"{user} 1")

    # --- the config -----------------------------------------------------------------------------

    def listener(self, address: str) -> dict[str, Any]:
        """Whose clients are nobody without a login."""
        return {
            "name": "submission",
            "address": f"{address}:{SUBMISSION_PORT}",
            "relay_networks": ["192.0.2.0/24"],
            "auth": self.listener_auth,
            "auth_without_tls": True,
        }

    def auth(self) -> dict[str, Any]:
        return {
            "users": "/users",
            "remember_for": self._remember_for,
            "max_failures": self.max_failures,
            "shut_out_for": "2m",
        }

    def keys_of(self, upstream: str) -> dict[str, Any]:
        """What stands in its table."""
        if not self.demands(upstream):
            return {}
        keys = {"auth_without_tls": True, **self._login(upstream)}
        if upstream in self._identities:
            keys["identity"] = [self._identities[upstream] | self._login(f"{upstream}.vip")]
        return keys

    @staticmethod
    def _login(user: str) -> dict[str, Any]:
        return {"user": user, "password_file": f"/secrets/{user}"}

    # --- what is so -----------------------------------------------------------------------------

    def demands(self, upstream: str) -> bool:
        """It takes no mail without a login."""
        return upstream in self.words

    def lanes_of(self, upstream: str) -> int:
        return 2 if upstream in self._identities else 1

    def as_whom(self, upstream: str, reverse_path: str, user: str) -> str:
        """The name that mail must go by there. `user`: who sent it here."""
        identity = self._identities.get(upstream)
        if identity is not None and (
            user in identity["users"]
            if "users" in identity
            else fnmatchcase(reverse_path, identity["senders"][0])
        ):
            return f"{upstream}.vip"
        return upstream if self.demands(upstream) else ""

    def password_of(self, user: str) -> str | None:
        account = self.accounts.get(user)
        return None if account is None else account.taken

    # --- in the place of files ------------------------------------------------------------------

    def secret_in(self, path: Any) -> str:
        return self.accounts[path.name].filed

    def version_of(self, path: Any) -> tuple[int, int, int]:
        return 1, 1, self.accounts[path.name].version

    def read_users(self, path: Any) -> tuple[Users, Version]:
        if not self.is_used:
            raise UsersUnusable(f"{path} is not there")
        return self.users.read(path)
