"""Accounts in memory: the users of the dialogues, and answers that a test holds back."""

from twisted.internet.defer import Deferred, succeed

from relay.smtp.sasl import scram
from relay.users.file import Users
from relay.users.record import User
from tests.smtp.sasl.exchanges import KEYS, NAME, PASSWORD


class FewAccounts:
    """`user` with the password `pencil`, and whoever is added; all have that password."""

    mechanisms: tuple[str, ...] = ("PLAIN", "LOGIN", scram.NAME)

    def __init__(self, *users: User) -> None:
        everybody = (User(NAME, keys=KEYS), *users)
        self.users = Users(b"seed", {user.name: user for user in everybody}, KEYS.iterations)
        self.answer: Deferred[User | None] | None = None  # to the next check, if it is set
        self.checks = 0

    def start(self) -> None:
        """Nothing to be opened."""

    def stop(self) -> None:
        """Nor to be closed."""

    def user(self, name: str) -> User | None:
        return self.users.by_name.get(name)

    def keys_of(self, name: str) -> scram.Keys:
        return self.users.keys_of(name)

    def check(self, name: str, password: str) -> "Deferred[User | None]":
        self.checks += 1
        if self.answer is not None:
            answer, self.answer = self.answer, None
            return answer
        return succeed(self.user(name) if password == PASSWORD else None)
