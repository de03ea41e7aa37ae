"""The users file: read whole and checked, rewritten whole and atomically.

It holds what passwords can be tried on, so nobody but its owner may read it.
"""

import fcntl
import hmac
import os
import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from relay.private_file import NotPrivate, read_private
from relay.replacing import replace_file
from relay.smtp.sasl import scram
from relay.users.hashing import ITERATIONS
from relay.users.record import (
    SEED_SIZE,
    BadRecord,
    User,
    first_line,
    line_of,
    read_first_line,
    read_line,
)

MAX_FILE_SIZE = 64 << 20
"""Octets: some 150,000 users. A larger file was named by mistake."""


class UsersUnusable(Exception):
    """The file cannot be used; its text is one line for the operator."""


@dataclass(frozen=True, slots=True)
class Users:
    """Everybody in the file. `seed`: what salts for names that nobody has are made with."""

    seed: bytes = field(repr=False)
    by_name: Mapping[str, User] = field(repr=False)
    iterations: int = ITERATIONS  # of most users' SCRAM keys

    def keys_of(self, name: str) -> scram.Keys:
        """A user's SCRAM keys; for other names keys that no password has, always with the same
        salt, so that a client cannot tell the two apart (RFC 5802 9)."""
        user = self.by_name.get(name)
        if user is not None and user.keys is not None:
            return user.keys
        salt = hmac.digest(self.seed, b"salt\0" + name.encode(), "sha256")[: scram.SALT_SIZE]
        return scram.Keys(
            salt,
            self.iterations,
            secrets.token_bytes(scram.HASH_SIZE),
            secrets.token_bytes(scram.HASH_SIZE),
        )


@dataclass(frozen=True, slots=True)
class Version:
    """What tells a file that was rewritten from the one that was read."""

    inode: int
    size: int
    changed_at: int  # nanoseconds


def version_of(path: Path) -> Version | None:
    """None: it cannot be told."""
    try:
        return _version(path.stat())
    except OSError:
        return None


def _version(told: os.stat_result) -> Version:
    return Version(told.st_ino, told.st_size, max(told.st_mtime_ns, told.st_ctime_ns))


def read_users(path: Path) -> tuple[Users, Version]:
    """Raises UsersUnusable."""
    try:
        octets, told = read_private(path, MAX_FILE_SIZE)
    except FileNotFoundError:
        raise UsersUnusable(
            f"users file {path} does not exist; make it with: relayctl user add NAME"
        ) from None
    except OSError as error:
        raise UsersUnusable(
            f"users file {path} cannot be read: {error.strerror}; it belongs to the user that the"
            " relay runs as"
        ) from None
    except NotPrivate as error:
        raise UsersUnusable(f"users file {path} {error}") from None
    if len(octets) > MAX_FILE_SIZE:
        raise UsersUnusable(f"users file {path} is larger than 64 MiB: that is no users file")
    return _parse(path, octets), _version(told)


def _parse(path: Path, octets: bytes) -> Users:
    head, *lines = octets.split(b"\n")
    number = 1
    by_name: dict[str, User] = {}
    try:
        seed = read_first_line(head)
        for line in lines:
            number += 1
            if line:
                user = read_line(line)
                if by_name.setdefault(user.name, user) is not user:
                    raise BadRecord(f"is the second one of {user.name!r}")
    except BadRecord as fault:
        raise UsersUnusable(f"users file {path}: line {number} {fault}") from None
    iterations = Counter(user.keys.iterations for user in by_name.values() if user.keys)
    ((usual, _),) = iterations.most_common(1) or [(ITERATIONS, 0)]
    return Users(seed, by_name, usual)


def change_users(
    path: Path, change: Callable[[dict[str, User]], object], owner: tuple[int, int] | None = None
) -> None:
    """Read, change, write, with nobody else between. A file that is not there begins empty.

    `owner`: user and group id of a new file; an old one keeps its own. Raises UsersUnusable.
    """
    try:
        with _locked(path):
            users, owner = _begin(path, owner)
            by_name = dict(users.by_name)
            change(by_name)
            _write(path, Users(users.seed, by_name), owner)
    except OSError as error:
        raise UsersUnusable(f"users file {path} cannot be written: {error.strerror}") from None


def _begin(path: Path, owner: tuple[int, int] | None) -> tuple[Users, tuple[int, int] | None]:
    try:
        told = path.stat()
    except FileNotFoundError:
        return Users(secrets.token_bytes(SEED_SIZE), {}), owner
    return read_users(path)[0], (told.st_uid, told.st_gid)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Not on the file itself, which is replaced."""
    lock = os.open(
        path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
    )
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _write(path: Path, users: Users, owner: tuple[int, int] | None) -> None:
    lines = (line_of(users.by_name[name]) for name in sorted(users.by_name))
    replace_file(path, (first_line(users.seed), *lines), owner)
