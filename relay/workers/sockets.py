"""The listening sockets of all workers: bound once, by the supervisor, before it gives up root.

Each worker has its own socket for each listener, all on one address (SO_REUSEPORT): the kernel
spreads the connections. They stay open here, so that those that wait at the door of a worker that
died are met by the next one.
"""

import os
import socket
from collections.abc import Mapping, Sequence

from relay.config import ConfigError, Listener
from relay.inbound.listener import BACKLOG
from relay.service.reception import cannot_listen
from relay.service.systemd import Systemd


def bind_all(
    listeners: Sequence[Listener], workers: int, systemd: Systemd
) -> Sequence[Mapping[str, socket.socket]]:
    """By worker, then by listener. One that systemd handed over is shared by all. Raises
    ConfigError with all that is in the way."""
    found: list[dict[str, socket.socket]] = [{} for _ in range(workers)]
    problems: list[str] = []
    for listener in listeners:
        try:
            _add(listener, found, systemd.descriptor_for(listener))
        except OSError as error:
            problems.append(cannot_listen(listener, error))
        except ConfigError as error:
            problems += error.problems
    if problems:
        close_all(found)
        raise ConfigError(problems)
    return found


def close_all(sockets: Sequence[Mapping[str, socket.socket]]) -> None:
    for of_one in sockets:
        for each in of_one.values():
            each.close()


def _add(listener: Listener, found: Sequence[dict[str, socket.socket]], handed: int | None) -> None:
    port = listener.port
    for sockets in found:
        if handed is None:
            bound = _bind(listener, port)
            port = bound.getsockname()[1]  # port 0 became a real one
        else:
            bound = socket.socket(fileno=os.dup(handed))
        sockets[listener.name] = bound


def _bind(listener: Listener, port: int) -> socket.socket:
    """Raises OSError."""
    family = socket.AF_INET6 if ":" in listener.host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind((listener.host, port))
        bound.listen(BACKLOG)
    except OSError:
        bound.close()
        raise
    bound.setblocking(False)
    return bound
