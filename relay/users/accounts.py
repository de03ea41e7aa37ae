"""Where users are looked up and passwords checked: the contract, and the users file behind it."""

from typing import Protocol

from twisted.internet.defer import Deferred, succeed

from relay.smtp.sasl import scram
from relay.users.file import Users
from relay.users.hashing import is_password, nobodys_hash
from relay.users.pool import Pool
from relay.users.record import User
from relay.users.remembered import Remembered
from relay.users.watched import WatchedFile


class Accounts(Protocol):
    """All users there are. Names and passwords are prepared (RFC 4013)."""

    @property
    def mechanisms(self) -> tuple[str, ...]: ...

    def start(self) -> None:
        """Raises UsersUnusable."""

    def stop(self) -> None: ...

    def user(self, name: str) -> User | None:
        """Whoever has proven to know this user's password by SCRAM; None: gone by now."""

    def keys_of(self, name: str) -> scram.Keys:
        """Keys of nobody for a name that is not known."""

    def check(self, name: str, password: str) -> "Deferred[User | None]":
        """None: not his password, or no such user. Fails with Busy, or with whatever keeps the
        answer from being known now."""


class FileAccounts:
    """The users of a users file, whatever it holds by now."""

    mechanisms = ("PLAIN", "LOGIN", scram.NAME)

    def __init__(self, file: WatchedFile, pool: Pool, remembered: Remembered) -> None:
        self._file = file
        self._pool = pool
        self._remembered = remembered
        self._users: Users | None = None

    def start(self) -> None:
        self._file.open()
        self._pool.start()

    def stop(self) -> None:
        self._pool.stop()

    def user(self, name: str) -> User | None:
        return self._now().by_name.get(name)

    def keys_of(self, name: str) -> scram.Keys:
        return self._now().keys_of(name)

    def check(self, name: str, password: str) -> "Deferred[User | None]":
        users = self._now()
        known = self._remembered.get(name, password)
        if known is not None:
            return succeed(known)
        user = users.by_name.get(name)

        def checked(is_right: bool) -> User | None:
            if user is None or not is_right:
                return None
            if self._now() is users:  # else he may be gone, or have another password
                self._remembered.add(password, user)
            return user

        hashed = None if user is None else user.hashed
        return self._pool.run(_is_right, hashed, password).addCallback(checked)

    def _now(self) -> Users:
        users = self._file.users()
        if users is not self._users:
            self._users = users
            self._remembered.clear()
        return users

    def __repr__(self) -> str:
        return f"<FileAccounts {self._file!r} {self._pool!r}>"


def _is_right(hashed: str | None, password: str) -> bool:
    """In a thread. A name that nobody has costs the same time."""
    return is_password(hashed or nobodys_hash(), password)
