"""The users file as it is now: looked at when it is needed, read again when it has changed.

A file that has become unusable changes nothing but raises an alarm: users go on as they were.
"""

from pathlib import Path

from relay.notices import Alarm, AlarmOver, Observer
from relay.users.file import Users, UsersUnusable, Version, read_users, version_of

WHAT = "users file"
"""As alarms name it."""


class WatchedFile:
    """`open` first."""

    def __init__(self, path: Path, observe: Observer) -> None:
        self._path = path
        self._observe = observe
        self._users: Users | None = None
        self._version: Version | None = None
        self._is_ill = False

    def open(self) -> None:
        """Raises UsersUnusable."""
        self._users, self._version = read_users(self._path)

    def users(self) -> Users:
        """Another object whenever they have changed."""
        assert self._users is not None
        version = version_of(self._path)
        if version != self._version:
            self._version = version  # an unusable file is read once, not at every look
            self._read()
        return self._users

    def _read(self) -> None:
        try:
            self._users, self._version = read_users(self._path)
        except UsersUnusable as error:
            self._is_ill = True
            self._observe(Alarm(WHAT, f"{error}; the users are still those it had before"))
            return
        if self._is_ill:
            self._is_ill = False
            self._observe(AlarmOver(WHAT))

    def __repr__(self) -> str:
        return f"<WatchedFile {self._path}{' unusable' if self._is_ill else ''}>"
