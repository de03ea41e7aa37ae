"""Where the operators' door listens: control.sock in the spool, and TCP where it is wanted."""

import errno
import os
import socket
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger
from twisted.protocols.policies import ThrottlingFactory

from relay.admin.guard import Guard, TokenUnusable, read_token
from relay.admin.http import Door, DoorSite
from relay.admin.operations import SOCKET_NAME, AskedRelay
from relay.config.schema import Admin
from relay.notices import Alarm, Observer

_log = Logger()

MAX_CONNECTIONS = 100
MAX_SOCKET_PATH = 107
"""Octets of a socket's path (unix(7): sun_path)."""


class DoorUnusable(Exception):
    """The door cannot be opened there; the text is one line for the operator."""


class Control:
    """The door, open at any number of places until `close`."""

    def __init__(self, operations: AskedRelay, reactor: Any) -> None:
        self._operations = operations
        self._reactor = reactor
        self._ports: list[IListeningPort] = []
        self._socket: Path | None = None

    def open(self, spool: Path | None, admin: Admin | None, observe: Observer) -> None:
        """A socket in the spool, and TCP where the config wants it. Mail does not wait for them:
        what is in the way is an alarm."""
        try:
            if spool is not None:
                self.listen_unix(spool)
            if admin is not None:
                self.listen_tcp(admin.address.host, admin.address.port, admin.token_file)
        except DoorUnusable as error:
            observe(Alarm("control", str(error)))
            _log.error("{why}", why=str(error))

    def listen_unix(self, directory: Path) -> None:
        """At DIRECTORY/control.sock, for its owner alone. Raises DoorUnusable."""
        path = directory / SOCKET_NAME
        _make_room(path)
        old = os.umask(0o177)  # the socket is never open to others, not even for a moment
        try:
            self._ports.append(self._reactor.listenUNIX(str(path), self._site(None), mode=0o600))
        except CannotListenError as error:
            why = getattr(error.socketError, "strerror", error.socketError)
            raise DoorUnusable(f"cannot listen on {path}: {why}; relayctl will not work") from None
        finally:
            os.umask(old)
        self._socket = path

    def listen_tcp(self, host: str, port: int, token_file: Path) -> None:
        """Raises DoorUnusable."""
        try:
            guard = Guard(read_token(token_file), host)
            listening = self._reactor.listenTCP(port, self._site(guard), interface=host)
        except TokenUnusable as error:
            raise DoorUnusable(str(error)) from None
        except CannotListenError as error:
            why = getattr(error.socketError, "strerror", error.socketError)
            raise DoorUnusable(f"admin.address: cannot listen on {host}:{port}: {why}") from None
        self._ports.append(listening)

    @property
    def addresses(self) -> list[Any]:
        """Where it listens really."""
        return [port.getHost() for port in self._ports]

    def close(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._close())

    async def _close(self) -> None:
        ports, self._ports = self._ports, []
        for port in ports:
            await maybeDeferred(port.stopListening)
        if self._socket is not None:
            self._socket.unlink(missing_ok=True)

    def _site(self, guard: Guard | None) -> ThrottlingFactory:
        return ThrottlingFactory(DoorSite(Door(self._operations, guard)), MAX_CONNECTIONS)


def _make_room(path: Path) -> None:
    """Remove the socket of a process that is dead. Raises DoorUnusable where one lives."""
    if len(os.fsencode(path)) > MAX_SOCKET_PATH:
        raise DoorUnusable(
            f"{path} is longer than the {MAX_SOCKET_PATH} octets that a socket's path may have;"
            " relayctl will not work: choose a shorter directory for the queue"
        )
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except FileNotFoundError:
            return
        except OSError as error:
            # nobody listens, or it is another user's: the queue is ours, so is whoever's this was
            if error.errno not in (errno.ECONNREFUSED, errno.EACCES):
                raise DoorUnusable(f"{path} cannot be used: {error.strerror}") from None
        else:
            raise DoorUnusable(f"{path} belongs to a relay that is running")
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise DoorUnusable(
            f"{path} is in the way and cannot be removed ({error.strerror}): remove it, then"
            " restart the relay; until then relayctl will not work"
        ) from None
