"""Secrets in files that nobody else may read, or in environment variables; none is ever shown.

A file is looked at whenever its secret is needed, and read again when it has changed.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path

from relay.private_file import NotPrivate, read_private
from relay.replacing import replace_file

MAX_SECRET = 64 << 10
"""Octets: refresh tokens have some 2,000, key files 3,000. A larger file was named by mistake."""


class SecretUnusable(Exception):
    """It cannot be had; one line for the operator, without anything of it."""


Version = tuple[int, int, int]
"""What tells a file that was changed: inode, size, nanoseconds."""


@dataclass(frozen=True, slots=True)
class Secret:
    """Where it is kept: in `file`, else in the environment `variable`. `what` names its key."""

    what: str
    file: Path | None = None
    variable: str | None = None

    def read(self) -> str:
        """Without the line end behind it. Raises SecretUnusable."""
        text = self._from_file(self.file) if self.file is not None else self._from_environment()
        text = text.removesuffix("\n").removesuffix("\r")
        if not text:
            raise SecretUnusable(f"{self._place} is empty")
        return text

    def version(self) -> Version | None:
        """Another one after each change; None: there is no file to look at."""
        if self.file is None:
            return None
        try:
            told = self.file.stat()
        except OSError:
            return None
        return told.st_ino, told.st_size, max(told.st_mtime_ns, told.st_ctime_ns)

    @property
    def _place(self) -> str:
        if self.file is not None:
            return f"{self.what}_file: {self.file}"
        return f"{self.what}_env: the environment variable {self.variable}"

    def _from_file(self, path: Path) -> str:
        try:
            octets, _ = read_private(path, MAX_SECRET)
        except OSError as error:
            raise SecretUnusable(f"{self._place} cannot be read: {error.strerror}") from None
        except NotPrivate as error:
            raise SecretUnusable(f"{self._place} {error}") from None
        if len(octets) > MAX_SECRET:
            raise SecretUnusable(f"{self._place} is larger than {MAX_SECRET} octets: no secret is")
        try:
            return octets.decode("utf-8")
        except UnicodeDecodeError:
            raise SecretUnusable(f"{self._place} is not UTF-8 text") from None

    def _from_environment(self) -> str:
        value = os.environ.get(self.variable or "")
        if value is None:
            raise SecretUnusable(f"{self._place} is not set")
        return value


def write_secret(path: Path, text: str) -> None:
    """In the place of what the file held, for the same owner. Raises OSError."""
    before = path.stat()
    replace_file(path, (text.encode(), b"\n"), (before.st_uid, before.st_gid))


@dataclass(slots=True)
class Remembered:
    """A secret as last read; read again where its file changed."""

    secret: Secret
    _value: str = field(default="", repr=False)
    version: Version | None = None  # of the file then

    def keep(self, value: str) -> None:
        """This one from now on, until the file changes."""
        self._value, self.version = value, self.secret.version()

    def value(self) -> str:
        """Raises SecretUnusable."""
        version = self.secret.version()
        if not self._value or version != self.version:
            self._value = self.secret.read()
            self.version = version
        return self._value
