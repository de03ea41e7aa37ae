"""An SMTP server with STARTTLS that throws mail away and ends after COUNT messages; 0: never.

`python -m benchmarks.tls_sink PORT COUNT CERTIFICATE KEY`. Processes made in advance, each with one
connection at a time: OpenSSL does the work, and no session waits for another one.
"""

import multiprocessing
import os
import socket
import ssl
import sys
from multiprocessing.synchronize import Lock
from typing import Any

from benchmarks.lifetime import end_with_parent

_PROCESSES = 48
"""More than anybody here opens connections at a time."""

_GREETING = b"220 sink.example.org\r\n"
_PLAIN = b"250-sink.example.org\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 STARTTLS\r\n"
_SECURED = b"250-sink.example.org\r\n250-PIPELINING\r\n250 8BITMIME\r\n"
_REPLIES = {
    b"DATA": b"354 go on\r\n",
    b"QUIT": b"221 bye\r\n",
    b"STAR": b"220 go on\r\n",
}
_END = b"\r\n.\r\n"


class _Tally:
    """Messages over all processes; the last one is told through a pipe."""

    def __init__(self, count: int) -> None:
        self._left = multiprocessing.RawValue("l", count)
        self._lock: Lock = multiprocessing.Lock()
        self._told, self._tell = os.pipe()

    def add(self, count: int) -> None:
        with self._lock:
            before = self._left.value
            self._left.value = before - count
        if before > 0 >= before - count:
            os.write(self._tell, b".")

    def wait(self) -> None:
        os.read(self._told, 1)


class _Session:
    """Replies leave together, when there is nothing more to read."""

    def __init__(self, connection: socket.socket, context: ssl.SSLContext, tally: _Tally) -> None:
        self._socket = connection
        self._context, self._tally = context, tally
        self._pending, self._replies = b"", _GREETING
        self._hello = _PLAIN
        self._taken = 0  # messages whose reply has not left yet

    def run(self) -> None:
        while (verb := self._verb()) and verb != b"QUIT":
            self._replies += self._hello if verb == b"EHLO" else _REPLIES.get(verb, b"250 ok\r\n")
            if verb == b"STAR":
                self._secure()
            elif verb == b"DATA":
                self._take_content()
        self._replies += _REPLIES[b"QUIT"]
        self._answer()

    def _verb(self) -> bytes:
        while (end := self._pending.find(b"\n")) < 0:
            if not self._read():
                return b""
        line, self._pending = self._pending[:end], self._pending[end + 1 :]
        return line[:4].upper()

    def _read(self) -> bool:
        self._answer()
        octets = self._socket.recv(65536)
        self._pending += octets
        return bool(octets)

    def _answer(self) -> None:
        if self._replies:
            self._socket.sendall(self._replies)
            self._replies = b""
        if self._taken:
            self._tally.add(self._taken)
            self._taken = 0

    def _secure(self) -> None:
        self._answer()
        self._socket = self._context.wrap_socket(self._socket, server_side=True)
        self._pending, self._hello = b"", _SECURED

    def _take_content(self) -> None:
        while (end := self._pending.find(_END)) < 0:
            self._pending = self._pending[-len(_END) :]
            if not self._read():
                return
        self._pending = self._pending[end + len(_END) :]
        self._replies += b"250 thrown away\r\n"
        self._taken += 1

    def close(self) -> None:
        self._socket.close()


def _serve(listening: socket.socket, context: ssl.SSLContext, tally: _Tally) -> None:
    end_with_parent()
    while True:
        connection, _ = listening.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        session = _Session(connection, context, tally)
        try:
            session.run()
        except OSError:  # the other side is gone: as any server, on with the next one
            pass
        finally:
            session.close()


def main(port: int, count: int, certificate: str, key: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    tally = _Tally(count)
    forked: Any = multiprocessing.get_context("fork")
    with socket.create_server(("127.0.0.1", port), backlog=1000) as listening:
        servers = [
            forked.Process(target=_serve, args=(listening, context, tally), daemon=True)
            for _ in range(_PROCESSES)
        ]
        for server in servers:
            server.start()
        tally.wait()
    for server in servers:
        server.kill()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4])
