"""Every conversation of tests/dialogues, over TCP, against a listener with its policy and queue."""

import contextlib
import socket
import ssl
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import blockingCallFromThread, deferToThread
from twisted.trial.unittest import TestCase

from tests.dialogues.script import Mismatch, Script, play, scripts, setting
from tests.inbound.relay_front import Front

CONVERSATIONS_AT_LEAST = 80
SILENCE = 10.0


class SocketConnection:
    """A script's connection to a relay's front. Used in a thread."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._socket = socket.create_connection(("127.0.0.1", front.port), SILENCE)
        self._contents_read = 0

    def send(self, octets: bytes) -> None:
        with contextlib.suppress(OSError):  # closed by the server: reading tells
            self._socket.sendall(octets)

    def read(self) -> bytes:
        try:
            return self._socket.recv(65536)
        except TimeoutError:
            raise Mismatch("the server is silent") from None
        except ConnectionError:
            return b""

    def begin_tls(self) -> None:
        trusting = ssl.create_default_context(cafile=self._front.authority)
        self._socket = trusting.wrap_socket(self._socket, server_hostname="relay.example")

    def content(self) -> bytes:
        contents = blockingCallFromThread(reactor, self._front.contents)  # type: ignore[arg-type]
        if self._contents_read == len(contents):
            raise Mismatch("no message was accepted")
        self._contents_read += 1
        return without_received(contents[self._contents_read - 1])

    def close(self) -> None:
        self._socket.close()


def without_received(content: bytes) -> bytes:
    """What the client sent: without the field that the relay put before it."""
    first, rest = content.split(b"\r\n", 1)
    assert first.startswith(b"Received:")
    while rest[:1] in b"\t ":
        _, rest = rest.split(b"\r\n", 1)
    return rest


class LiveDialogueTests(TestCase):
    timeout = 120

    async def test_over_tcp(self) -> None:
        played = 0
        for script in scripts():
            if not script.is_engine_only:
                await self._play(script)
                played += 1
        self.assertGreaterEqual(played, CONVERSATIONS_AT_LEAST)

    async def _play(self, script: Script) -> None:
        settings: dict[str, Any] = {name: setting(value) for name, value in script.settings.items()}
        front = Front(**settings)
        try:
            await deferToThread(self._converse, script, front)
        finally:
            await Deferred.fromCoroutine(front.stop())

    def _converse(self, script: Script, front: Front) -> None:
        connection = SocketConnection(front)
        try:
            play(script, connection)
        finally:
            connection.close()
