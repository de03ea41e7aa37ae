"""Reads the conversations of this folder (see README.rst) and plays them against any server."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Protocol

FOLDER = Path(__file__).parent

_ESCAPE = re.compile(rb"\\(?:x([0-9A-Fa-f]{2})|([rnt0\\]))")
_ESCAPED = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"0": b"\0", b"\\": b"\\"}
_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")


class Mismatch(AssertionError):
    """The server did not say what the script expects."""


@dataclass
class Send:
    """Octets of the client, in one write."""

    octets: bytes


@dataclass
class Expect:
    """One reply. `globs` must each match some line of its text, `forbidden` none."""

    code: str
    status: str
    globs: list[str]
    where: str
    forbidden: list[str] = field(default_factory=list)

    def check(self, lines: list[str]) -> None:
        """Compare with the lines of a whole reply."""
        said = "\n".join(lines)
        texts = []
        for line in lines:
            if line[:3] != self.code or not line.startswith(self.status, 4):
                raise Mismatch(f"{self.where}: expected {self.code} {self.status}, got {said}")
            texts.append(line[4 + len(self.status) :].strip())
        for glob in self.globs:
            if not any(fnmatchcase(text, glob) for text in texts):
                raise Mismatch(f"{self.where}: no line like {glob!r} in {said}")
        for glob in self.forbidden:
            if any(fnmatchcase(text, glob) for text in texts):
                raise Mismatch(f"{self.where}: a line like {glob!r} in {said}")


@dataclass
class ExpectClose:
    """The server closes, and says nothing more."""

    where: str


@dataclass
class ExpectContent:
    """The content of the next accepted message."""

    octets: bytes
    where: str


@dataclass
class BeginTls:
    """The client shakes hands."""


Step = Send | Expect | ExpectClose | ExpectContent | BeginTls


@dataclass
class Script:
    """One conversation. `settings` are names and values of the listener's configuration."""

    name: str
    steps: list[Step]
    settings: dict[str, str]
    is_engine_only: bool


class Connection(Protocol):
    """What a script is played on."""

    def send(self, octets: bytes) -> None:
        """Write at once."""

    def read(self) -> bytes:
        """At least one octet; b"" when the server has closed. Raises Mismatch for silence."""

    def begin_tls(self) -> None:
        """Shake hands; `send` and `read` go through TLS from then on."""

    def content(self) -> bytes | None:
        """The next accepted message's content as the client meant it; None: cannot tell."""


def scripts() -> Iterator[Script]:
    """All of this folder."""
    for path in sorted(FOLDER.glob("*.smtp")):
        yield parse(path.stem, path.read_text())


def parse(name: str, text: str) -> Script:
    """Raises ValueError for what is no script."""
    head, _, body = text.partition("\n\n")
    settings = {}
    for line in head.splitlines():
        if not line.startswith("#"):
            key, _, value = line.partition(":")
            settings[key.strip()] = value.strip()
    steps: list[Step] = []
    first = head.count("\n") + 3
    for number, line in enumerate(body.splitlines(), first):
        if line and not line.startswith("#"):
            kind, colon, argument = line.partition(":")
            if not colon:
                raise ValueError(f"{name}:{number}: no step: {line}")
            _add(steps, kind, argument.removeprefix(" "), f"{name}:{number}")
    only = settings.pop("only", "")
    return Script(name, steps, settings, only == "engine")


def setting(text: str) -> int | bool | str:
    """A setting's value as its configuration has it."""
    if text in ("true", "false"):
        return text == "true"
    return int(text) if text.isdecimal() else text


def _add(steps: list[Step], kind: str, argument: str, where: str) -> None:
    last = steps[-1] if steps else None
    if kind in ("C", "C-raw", "C-repeat"):
        octets = _client_octets(kind, argument)
        if isinstance(last, Send):
            last.octets += octets
        else:
            steps.append(Send(octets))
    elif kind == "M":
        octets = _unescaped(argument) + b"\r\n"
        if isinstance(last, ExpectContent):
            last.octets += octets
        else:
            steps.append(ExpectContent(octets, where))
    elif kind == "TLS" and argument == "begins":
        steps.append(BeginTls())
    elif kind == "S" and argument == "closed":
        steps.append(ExpectClose(where))
    elif kind == "S":
        steps.append(_expect(argument, where))
    elif kind == "S-has" and isinstance(last, Expect):
        last.globs.append(argument)
    elif kind == "S-not" and isinstance(last, Expect):
        last.forbidden.append(argument)
    else:
        raise ValueError(f"{where}: {kind}: does not belong here")


def _client_octets(kind: str, argument: str) -> bytes:
    if kind == "C-repeat":
        count, _, text = argument.partition(" ")
        return _unescaped(text) * int(count)
    return _unescaped(argument) + (b"\r\n" if kind == "C" else b"")


def _expect(argument: str, where: str) -> Expect:
    code, _, rest = argument.partition(" ")
    if not re.fullmatch("[2-5][0-9][0-9]", code):
        raise ValueError(f"{where}: no reply code: {code}")
    status, _, glob = rest.partition(" ")
    if not _STATUS.fullmatch(status):
        status, glob = "", rest
    return Expect(code, status, [glob] if glob else [], where)


def _unescaped(text: str) -> bytes:
    def octet(match: re.Match[bytes]) -> bytes:
        return bytes.fromhex(match[1].decode()) if match[1] else _ESCAPED[match[2]]

    return _ESCAPE.sub(octet, text.encode())


def play(script: Script, connection: Connection) -> None:
    """Raises Mismatch where the server leaves the script."""
    replies = _Replies(connection)
    for step in script.steps:
        match step:
            case Send():
                connection.send(step.octets)
            case Expect():
                step.check(replies.next(step.where))
            case ExpectClose():
                replies.expect_close(step.where)
            case BeginTls():
                connection.begin_tls()
            case ExpectContent():
                content = connection.content()
                if content is not None and content != step.octets:
                    raise Mismatch(f"{step.where}: expected {step.octets!r}, got {content!r}")
    if replies.buffered:
        raise Mismatch(f"{script.name}: more than expected: {replies.buffered!r}")


class _Replies:
    """Whole replies off a connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.buffered = b""

    def next(self, where: str) -> list[str]:
        lines: list[str] = []
        while True:
            line, end, rest = self.buffered.partition(b"\r\n")
            if end:
                self.buffered = rest
                lines.append(line.decode())
                if line[3:4] != b"-":
                    return lines
            elif octets := self._read(where):
                self.buffered += octets
            else:
                raise Mismatch(f"{where}: the server closed")

    def expect_close(self, where: str) -> None:
        octets = self.buffered or self._read(where)
        if octets:
            raise Mismatch(f"{where}: expected the end, got {octets!r}")

    def _read(self, where: str) -> bytes:
        try:
            return self._connection.read()
        except Mismatch as silence:
            raise Mismatch(f"{where}: {silence}") from None
