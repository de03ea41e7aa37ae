"""The attacks of `make attacks-beside`: each goes on against a port until it is told to end.

Attackers keep up their pace whatever they are answered: who waits is replaced by a new session.
"""

import threading
from base64 import b64encode
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from contextlib import suppress as ignoring
from itertools import count

from tests.attacks.dialogue import Rude

PER_CLIENT = 30
"""Sessions that one address may have."""

ATTACKER = "127.0.0.9"
"""Attackers have an address of their own, which may not relay."""

_PAUSE = 0.02
"""Seconds between two sessions of an attack: some 50 a second."""


class Course:
    """Of one attack, which goes on in a thread."""

    def __init__(self) -> None:
        self.is_under_way = threading.Event()  # all its sessions are there
        self.is_over = threading.Event()


Attack = Callable[[int, Course], None]


def _one_of_many(number: int, among: int) -> str:
    """Addresses enough that none comes to its limit."""
    return f"127.0.1.{number % among + 1}"


def idle(port: int, course: Course) -> None:
    """5,000 sessions that say nothing."""
    with ExitStack() as sessions:
        for number in range(5000):
            sessions.enter_context(Rude(port, source=_one_of_many(number, 200)))
        course.is_under_way.set()
        course.is_over.wait()


def slow(port: int, course: Course) -> None:
    """1,000 sessions that say an octet every ten seconds, all in turn."""
    with ExitStack() as stack:
        sessions = [
            stack.enter_context(Rude(port, source=_one_of_many(number, 50)))
            for number in range(1000)
        ]
        course.is_under_way.set()
        while not course.is_over.is_set():
            for each in sessions:
                if course.is_over.wait(0.01):
                    return
                with ignoring(OSError):
                    each.socket.send(b"x")


def knocking(port: int, course: Course) -> None:
    """A connection after the other from one address, which has all its sessions already: 421."""
    with ExitStack() as stack:
        for _ in range(PER_CLIENT):
            stack.enter_context(Rude(port, source=ATTACKER))
        course.is_under_way.set()
        while not course.is_over.wait(0.005):
            with ignoring(OSError), Rude(port, source=ATTACKER):
                pass


def _pouring(octets: bytes, *opening: str) -> Attack:
    """Sessions that say something and read no answer; the oldest is left for a new one."""

    def attack(port: int, course: Course) -> None:
        sessions: deque[Rude] = deque()
        course.is_under_way.set()
        while not course.is_over.wait(_PAUSE):
            if len(sessions) == PER_CLIENT:
                sessions.popleft().__exit__()
            with ignoring(OSError):
                session = Rude(port, source=ATTACKER)
                sessions.append(session)
                session.socket.sendall("".join(f"{line}\r\n" for line in opening).encode())
                session.socket.setblocking(False)
                session.socket.send(octets)
        for each in sessions:
            each.__exit__()

    return attack


def guessing(port: int, course: Course) -> None:
    """Ever other passwords, a session for each."""
    numbers = count()
    course.is_under_way.set()
    while not course.is_over.wait(_PAUSE):
        with ignoring(OSError), Rude(port, source=ATTACKER) as session:
            session.socket.sendall(b"EHLO c\r\n" + _guess(f"wrong {next(numbers)}"))


def _guess(password: str) -> bytes:
    return b"AUTH PLAIN " + b64encode(f"\0someone\0{password}".encode()) + b"\r\n"


_LINES = (b"x" * 62 + b"\r\n") * 1024


def oversize(port: int, course: Course) -> None:
    """Four sessions at a time with content far above max_message_size, 60 MB a second in all."""
    sessions: deque[Rude] = deque()
    course.is_under_way.set()
    while not course.is_over.wait(0.001):
        try:
            if len(sessions) < 4:
                sessions.append(Rude(port, source=ATTACKER))
                sessions[-1].socket.sendall(b"EHLO c\r\nBDAT 1000000000 LAST\r\n")
                sessions[-1].socket.setblocking(False)
            sessions.rotate()
            sessions[0].socket.send(_LINES)
        except BlockingIOError:
            pass
        except OSError:
            if sessions:
                sessions.popleft().__exit__()
    for each in sessions:
        each.__exit__()


_RCPT = "RCPT TO:<{}@elsewhere.example>\r\n"
_OPENING = ("EHLO c", "MAIL FROM:<a@example.net>")

ATTACKS: dict[str, Attack] = {
    "5,000 idle sessions": idle,
    "1,000 slow clients": slow,
    "connections beyond the limit": knocking,
    "errors": _pouring(b"XYZZY\r\n" * 30),
    "NOOP, RSET, VRFY": _pouring(b"NOOP\r\nRSET\r\nVRFY x\r\n" * 10, "EHLO c"),
    "refused recipients": _pouring(_RCPT.format("a").encode() * 30, *_OPENING),
    "10,000 recipients": _pouring(_RCPT.format("a").encode() * 10_000, *_OPENING),
    "oversize content": oversize,
    "oversize announced": _pouring(b"MAIL FROM:<a@b> SIZE=99999999999\r\n" * 30, "EHLO c"),
    "commands without line end": _pouring(b"x" * (1 << 20)),
    "AUTH, the same password": _pouring(_guess("wrong") * 30, "EHLO c"),
    "AUTH, ever others": guessing,
}
