"""Where the sink's mail goes: into a directory, one .eml file a message, or only into a count.

A file appears under its name when it is whole; its envelope is then one line of envelopes.jsonl.
Nothing is synced: a sink is for trying things out, not for keeping mail.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Protocol

import orjson

ENVELOPES = "envelopes.jsonl"


class Mail(Protocol):
    """One message coming in. OSError from any method: the mail cannot be kept."""

    def write(self, octets: bytes) -> None:
        """Content, as it comes."""

    def keep(self, envelope: Callable[[], dict[str, object]]) -> str:
        """The message is whole. Returns what to say of it in the reply."""

    def discard(self) -> None:
        """It was refused, or its client is gone."""


class CountedMail:
    """Content that is only measured."""

    __slots__ = ("_keeper", "_size")

    def __init__(self, keeper: "MailCount") -> None:
        self._keeper = keeper
        self._size = 0

    def write(self, octets: bytes) -> None:
        self._size += len(octets)

    def keep(self, envelope: Callable[[], dict[str, object]]) -> str:
        keeper = self._keeper
        keeper.messages += 1
        keeper.octets += self._size
        return f"counted as {keeper.messages}"

    def discard(self) -> None:
        self._keeper.discarded += 1


class MailCount:
    """Counts messages and octets; the base of the keeper too."""

    def __init__(self) -> None:
        self.messages = 0
        self.octets = 0
        self.discarded = 0

    def begin(self) -> Mail:
        return CountedMail(self)

    def close(self) -> None:
        """Nothing is open."""

    def __str__(self) -> str:
        return f"{self.messages} messages, {self.octets} octets; {self.discarded} not kept"


class FiledMail:
    """Content on its way into a file, under a temporary name."""

    __slots__ = ("_file", "_keeper", "_name", "_size", "_temporary")

    def __init__(self, keeper: "MailDirectory", name: str) -> None:
        self._keeper = keeper
        self._name = name
        self._size = 0
        self._temporary = keeper.directory / f".{name}.part"
        self._file: BinaryIO = self._temporary.open("wb")

    def write(self, octets: bytes) -> None:
        self._file.write(octets)
        self._size += len(octets)

    def keep(self, envelope: Callable[[], dict[str, object]]) -> str:
        self._file.close()
        self._temporary.rename(self._keeper.directory / self._name)
        self._keeper.note(self._name, self._size, envelope())
        return f"kept as {self._name}"

    def discard(self) -> None:
        self._keeper.discarded += 1
        self._file.close()
        self._temporary.unlink(missing_ok=True)


class MailDirectory(MailCount):
    """Keeps each message as a file; raises OSError where the directory cannot be used."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._begun = 0
        self._envelopes = (directory / ENVELOPES).open("ab")

    def begin(self) -> Mail:
        self._begun += 1
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        return FiledMail(self, f"{stamp}-{os.getpid()}-{self._begun:06d}.eml")

    def note(self, name: str, size: int, envelope: dict[str, object]) -> None:
        """A message is whole and under its name."""
        line = orjson.dumps({"file": name, "size": size, **envelope})
        self._envelopes.write(line + b"\n")
        self._envelopes.flush()
        self.messages += 1
        self.octets += size

    def close(self) -> None:
        self._envelopes.close()
