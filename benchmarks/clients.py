"""SMTP clients, a process each: they speak TLS, keep a pace, and time the reply to the final dot.

`python -m benchmarks.clients '{"port": 2525, ...}'` (the fields of Job) prints one JSON object, an
Outcome. The dialogue is smtp-source's, command by command; blocking sockets and a process for each
session, so that no client waits for another one.
"""

import json
import multiprocessing
import socket
import ssl
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing.synchronize import Barrier, Lock
from typing import Any

from benchmarks.lifetime import end_with_parent

_LINE = b"A line of a message that goes from here to there and is not read.\r\n"
_HEADER = b"From: <sender@example.net>\r\nTo: <recipient@example.org>\r\nSubject: load\r\n\r\n"

_PATIENCE = 60.0
"""Seconds for any one reply."""

_LATEST_START = 30.0


@dataclass(frozen=True, slots=True)
class Job:
    """`count` messages; `rate`: so many a second, evenly; 0: as fast as they go."""

    port: int
    count: int
    size: int
    sessions: int
    is_kept: bool = False
    has_tls: bool = False
    rate: float = 0.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """Monotonic times of the first connection and of the last reply; sorted waits in seconds."""

    started_at: float
    ended_at: float
    waits: list[float]


class _Session:
    def __init__(self, job: Job, tls: ssl.SSLContext | None) -> None:
        self._socket = socket.create_connection(("127.0.0.1", job.port), _PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._expect(b"220")
        self._ask(b"EHLO client.example.net\r\n", b"250")
        if tls is not None:
            self._ask(b"STARTTLS\r\n", b"220")
            self._socket = tls.wrap_socket(self._socket)
            self._ask(b"EHLO client.example.net\r\n", b"250")

    def send(self, content: bytes) -> float:
        """Seconds from the final dot to its reply."""
        self._ask(b"MAIL FROM:<sender@example.net>\r\n", b"250")
        self._ask(b"RCPT TO:<recipient@example.org>\r\n", b"250")
        self._ask(b"DATA\r\n", b"354")
        self._socket.sendall(content)
        sent_at = time.monotonic()
        self._expect(b"250")
        return time.monotonic() - sent_at

    def end(self) -> None:
        """A sink that has its count may be gone already; nothing is at stake any more."""
        with suppress(OSError):
            self._socket.sendall(b"QUIT\r\n")
            self._socket.recv(4096)
        self._socket.close()

    def _ask(self, command: bytes, code: bytes) -> None:
        self._socket.sendall(command)
        self._expect(code)

    def _expect(self, code: bytes) -> None:
        text = b""
        while not text.endswith(b"\n") or text.splitlines()[-1][3:4] == b"-":
            octets = self._socket.recv(4096)
            if not octets:
                raise SystemExit(f"{code!r} was awaited, the connection ended after {text!r}")
            text += octets
        if not text.startswith(code):
            raise SystemExit(f"{code!r} was awaited, {text!r} came")


class _Account:
    """What the processes share: the next message's number, and each message's wait."""

    def __init__(self, count: int) -> None:
        self.waits = multiprocessing.RawArray("d", count)
        self._count = count
        self._next = multiprocessing.RawValue("l", 0)
        self._lock: Lock = multiprocessing.Lock()

    def take(self) -> int | None:
        with self._lock:
            number = int(self._next.value)
            self._next.value = number + 1
        return number if number < self._count else None


def content_of(size: int) -> bytes:
    """With the final dot."""
    lines = (size - len(_HEADER)) // len(_LINE)
    return _HEADER + _LINE * max(1, lines) + b".\r\n"


def _client(job: Job, account: _Account, ready: Barrier, started_at: Any) -> None:
    end_with_parent()
    tls, content = _unverified() if job.has_tls else None, content_of(job.size)
    ready.wait(_LATEST_START)
    session: _Session | None = None
    while (number := account.take()) is not None:
        if job.rate:
            time.sleep(max(0.0, started_at.value + number / job.rate - time.monotonic()))
        session = session or _Session(job, tls)
        account.waits[number] = session.send(content)
        if not job.is_kept:
            session.end()
            session = None
    if session is not None:
        session.end()


def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def run(job: Job) -> Outcome:
    forked = multiprocessing.get_context("fork")
    account, started_at = _Account(job.count), multiprocessing.RawValue("d", 0.0)

    def note_start() -> None:
        started_at.value = time.monotonic()

    action: Callable[[], None] = note_start
    ready = forked.Barrier(job.sessions, action)
    clients = [
        forked.Process(target=_client, args=(job, account, ready, started_at))
        for _ in range(job.sessions)
    ]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    ended_at = time.monotonic()
    if any(client.exitcode for client in clients):
        raise SystemExit("a client failed")
    return Outcome(started_at.value, ended_at, sorted(account.waits))


if __name__ == "__main__":
    print(json.dumps(asdict(run(Job(**json.loads(sys.argv[1]))))))
