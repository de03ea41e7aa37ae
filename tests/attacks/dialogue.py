"""A client without manners: says octets as they are, reads replies, may be cut off at any time."""

import socket
from typing import Self

TIMEOUT = 60.0


class Rude:
    """One session; the greeting has been read."""

    def __init__(self, port: int, timeout: float = TIMEOUT, source: str = "127.0.0.1") -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout, (source, 0))
        self._file = self.socket.makefile("rb")
        self.greeting = self.reply()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self.socket.close()

    def reply(self) -> str:
        """Its last line; "" where the connection ended."""
        try:
            while line := self._file.readline():
                if line[3:4] != b"-":
                    return line.decode("utf-8", "replace").rstrip("\r\n")
        except OSError:
            pass
        return ""

    def say(self, line: str | bytes) -> str:
        octets = line if isinstance(line, bytes) else line.encode("utf-8", "surrogateescape")
        try:
            self.socket.sendall(octets + b"\r\n")
        except OSError:
            return ""
        return self.reply()

    def pour(self, octets: bytes, limit: int) -> int:
        """Again and again, until `limit` or until it is cut off: how much went out."""
        sent = 0
        try:
            while sent < limit:
                self.socket.sendall(octets)
                sent += len(octets)
        except OSError:
            pass
        return sent

    def last_word(self) -> str:
        """What was said before the end."""
        last = ""
        while line := self.reply():
            last = line
        return last
