"""Sends many messages at once, and knows which of them got a 250."""

import smtplib
import socket
import struct
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

SENDER = "sender@example.net"

_TIMEOUT = 30.0


def content(subject: str, size: int = 2000) -> bytes:
    lines = b"a line of text, as long as lines are\r\n" * (size // 38)
    return b"From: sender@example.net\r\nSubject: %s\r\n\r\n%s" % (subject.encode(), lines)


def send(port: int, recipients: Sequence[str], sender: str = SENDER, subject: str = "one") -> None:
    """One message; raises unless every recipient and the content got a 250."""
    with smtplib.SMTP("127.0.0.1", port, timeout=_TIMEOUT) as session:
        refused = session.sendmail(sender, list(recipients), content(subject))
    assert not refused, refused


class Waiting:
    """A client that has sent one message to its final dot, and waits for the answer."""

    def __init__(self, port: int, *recipients: str, size: int = 2000) -> None:
        session = self.session = smtplib.SMTP("127.0.0.1", port, timeout=_TIMEOUT)
        session.ehlo()
        replies = [session.mail(SENDER), *map(session.rcpt, recipients), session.docmd("DATA")]
        assert [code for code, _ in replies] == [250] * (len(recipients) + 1) + [354], replies
        session.send(content("one", size) + b".\r\n")

    def answer(self) -> int:
        """Its code, 0 where the connection ended without one."""
        try:
            return self.session.getreply()[0]
        except (smtplib.SMTPServerDisconnected, OSError):
            return 0
        finally:
            self.session.close()

    def leave(self) -> None:
        """By RST: a FIN alone may mean that it still listens."""
        reset(self.session)


def reset(session: smtplib.SMTP) -> None:
    assert session.sock is not None
    session.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    session.close()


@dataclass(slots=True)
class Load:
    """Messages to `NUMBER@example.org`, over some sessions at a time, each kept to its end.

    A session that breaks ends its share: what was not accepted by then is the client's still.
    """

    port: int
    accepted: set[str] = field(default_factory=set)
    _threads: list[threading.Thread] = field(default_factory=list)
    _is_stopped: bool = False

    def start(self, count: int, sessions: int = 10) -> None:
        names = [f"{number}@example.org" for number in range(count)]
        for share in range(sessions):
            thread = threading.Thread(target=self._send, args=(names[share::sessions],))
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """Begin no further message."""
        self._is_stopped = True

    def wait(self) -> None:
        for thread in self._threads:
            thread.join(120)
            assert not thread.is_alive()

    def _send(self, names: Iterable[str]) -> None:
        try:
            with smtplib.SMTP("127.0.0.1", self.port, timeout=_TIMEOUT) as session:
                for name in names:
                    if self._is_stopped:
                        return
                    session.sendmail(SENDER, name, content(name))
                    self.accepted.add(name)
        except (smtplib.SMTPException, OSError):
            return
