"""A tap on the wire between the relay and an upstream: octets pass unchanged, and are kept.

Judged by its own few lines of SMTP: what the relay sent, as an upstream must understand it.
"""

import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, field


@dataclass(slots=True)
class Tap:
    """Listens on `port` until `stop`; `said` is what the relay said, session by session."""

    upstream: int
    port: int = 0
    said: list[bytearray] = field(default_factory=list)
    _listener: socket.socket | None = None

    def start(self) -> None:
        listener = socket.create_server(("127.0.0.1", 0), backlog=200)
        self.port = listener.getsockname()[1]
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def stop(self) -> None:
        if self._listener is not None:
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                relay, _ = listener.accept()
                upstream = socket.create_connection(("127.0.0.1", self.upstream))
            except OSError:
                return
            kept = bytearray()
            self.said.append(kept)
            for source, target, copy in ((relay, upstream, kept), (upstream, relay, bytearray())):
                threading.Thread(target=_pass_on, args=(source, target, copy), daemon=True).start()


def _pass_on(source: socket.socket, target: socket.socket, copy: bytearray) -> None:
    with suppress(OSError):
        while octets := source.recv(65536):
            copy += octets
            target.sendall(octets)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@dataclass(slots=True)
class Spoken:
    """One session, taken apart: its command lines, and the contents with their final dots."""

    commands: list[bytes] = field(default_factory=list)
    contents: list[bytes] = field(default_factory=list)
    unended: bytes = b""  # content that was cut off


def take_apart(said: bytes) -> Spoken:
    """Every DATA of the session was answered 354, every chunk 250. Chunks come out stuffed."""
    spoken = Spoken()
    chunked = b""
    while said:
        line, _, said = said.partition(b"\r\n")
        spoken.commands.append(line)
        if line == b"DATA":
            end = 0 if said.startswith(b".\r\n") else said.find(b"\r\n.\r\n") + 2
            if end == 1:
                spoken.unended = said
                break
            spoken.contents.append(said[: end + 3])
            said = said[end + 3 :]
        elif line.startswith(b"BDAT "):
            size = int(line.split()[1])
            chunked += said[:size]
            said = said[size:]
            if line.endswith(b" LAST"):
                spoken.contents.append(_stuffed(chunked))
                chunked = b""
    return spoken


def _stuffed(content: bytes) -> bytes:
    return (b"\r\n" + content).replace(b"\r\n.", b"\r\n..")[2:] + b".\r\n"
