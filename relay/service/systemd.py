"""What systemd and the relay tell each other: sockets handed over at the start, and how it does.

sd_listen_fds(3), sd_notify(3). Where nothing of it is there, nothing is said.
"""

import os
import socket
import time
from dataclasses import dataclass
from errno import EBADF
from typing import Any

from twisted.internet.endpoints import serverFromString
from twisted.logger import Logger

from relay.config import ConfigError, Listener, SystemdAddress

READY = "READY=1"
STOPPING = "STOPPING=1"

_log = Logger()


@dataclass(frozen=True, slots=True)
class Systemd:
    """`address`: where states are told; "": nowhere."""

    address: str = ""

    @classmethod
    def here(cls) -> "Systemd":
        """Of this process."""
        return cls(os.environ.get("NOTIFY_SOCKET", ""))

    def descriptor_for(self, listener: Listener) -> int | None:
        """That of the listener's socket; None: it has an address of its own. Raises ConfigError."""
        address = listener.address
        if not isinstance(address, SystemdAddress):
            return None
        found = _handed_over(address.place)
        if found is None:
            raise ConfigError(
                [
                    f"listener {listener.name}: systemd has handed over no socket {address}; see"
                    " etc/relay.socket, and start the relay by that"
                ]
            )
        if not _is_listening(found):
            raise ConfigError(
                [f"listener {listener.name}: the socket {address} does not listen for TCP"]
            )
        os.set_blocking(found, False)
        return found

    def tell(self, state: str) -> None:
        """The manager's not hearing it harms nobody here."""
        if not self.address:
            return
        path = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
                sender.sendto(state.encode(), path)
        except OSError as error:
            _log.warn("systemd was not told {state}: {why}", state=state, why=error.strerror)

    def tell_reloading(self) -> None:
        """Until READY comes."""
        self.tell(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")


NO_SYSTEMD = Systemd()


def _handed_over(place: str) -> int | None:
    """Twisted took them from the environment when it was loaded, before anything forked."""
    key = "index" if place.isdigit() else "name"
    try:
        endpoint: Any = serverFromString(None, f"systemd:domain=INET:{key}={place}")
    except LookupError:
        return None
    descriptor: int = endpoint.fileno
    return descriptor


def _is_listening(descriptor: int) -> bool:
    try:
        with socket.socket(fileno=os.dup(descriptor)) as handed:
            is_tcp = handed.family in (socket.AF_INET, socket.AF_INET6)
            is_listening = handed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            return is_tcp and handed.type == socket.SOCK_STREAM and bool(is_listening)
    except OSError as error:
        if error.errno == EBADF:
            return False
        raise
