"""Clients that go on whatever happens: each knows which of its messages got a 250.

Every message has a name of its own, which is its recipient and its subject.
"""

import smtplib
import threading
import time
from dataclasses import dataclass, field

from tests.process.sending import SENDER, content

_TIMEOUT = 20.0

_PAUSE = 0.05
"""Seconds before a client whose session broke comes again."""

LARGE = 200_000
"""Octets: such content lies in a file beside the database."""

LARGE_SHARE = 25
"""Each so many-th message is large."""


@dataclass(slots=True)
class SteadyLoad:
    """`accepted`: got a 250. `unsure`: the final dot was said, and no answer came. `refused`: told
    to come again, or broken off before the dot: nobody may ever get it."""

    port: int
    accepted: set[str] = field(default_factory=set)
    unsure: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    replies: dict[int, int] = field(default_factory=dict)
    """How often each code was the last word on a message."""
    pause: float = 0.0
    """Seconds between the beginnings of two messages of a session."""
    _threads: list[threading.Thread] = field(default_factory=list)
    _is_stopped: bool = False
    _next: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self, sessions: int = 4) -> None:
        for _ in range(sessions):
            thread = threading.Thread(target=self._run, daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        self._is_stopped = True
        for thread in self._threads:
            thread.join(3 * _TIMEOUT)
            assert not thread.is_alive()

    @property
    def count(self) -> int:
        return self._next

    def _run(self) -> None:
        while not self._is_stopped:
            try:
                with smtplib.SMTP("127.0.0.1", self.port, timeout=_TIMEOUT) as session:
                    session.ehlo()
                    while not self._is_stopped:
                        due = time.monotonic() + self.pause
                        self._one(session)
                        time.sleep(max(0.0, due - time.monotonic()))
            except (smtplib.SMTPException, OSError):
                time.sleep(_PAUSE)

    def _one(self, session: smtplib.SMTP) -> None:
        with self._lock:
            self._next += 1
            name = f"m{self._next}@example.org"
        kept = self.refused
        try:
            for code, _ in (session.mail(SENDER), session.rcpt(name), session.docmd("DATA")):
                if code >= 400:
                    self._answered(code)
                    session.rset()
                    return
            size = 2000 if int(name[1:-12]) % LARGE_SHARE else LARGE
            session.send(content(name, size))
            kept = self.unsure
            session.send(b".\r\n")
            code, _ = session.getreply()
            self._answered(code)
            kept = self.accepted if code == 250 else self.refused
        finally:
            with self._lock:
                kept.add(name)

    def _answered(self, code: int) -> None:
        with self._lock:
            self.replies[code] = self.replies.get(code, 0) + 1
