"""The listening sockets of all workers: bound once, by the supervisor, before it gives up root.

Each worker has its own socket for each listener, all on one address (SO_REUSEPORT): the kernel
spreads the connections. They stay open here, so that those that wait at the door of a worker that
died are met by the next one.
"""

import socket
from collections.abc import Mapping, Sequence

from relay.config.schema import Listener
from relay.inbound.listener import BACKLOG
from relay.service.reception import cannot_listen


class CannotBind(Exception):
    """One line for the operator."""


def bind_all(listeners: Sequence[Listener], workers: int) -> Sequence[Mapping[str, socket.socket]]:
    """By worker, then by listener. Raises CannotBind."""
    found: list[dict[str, socket.socket]] = [{} for _ in range(workers)]
    for listener in listeners:
        port = listener.port
        for sockets in found:
            bound = _bind(listener, port)
            port = bound.getsockname()[1]  # port 0 became a real one
            sockets[listener.name] = bound
    return found


def _bind(listener: Listener, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in listener.host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind((listener.host, port))
        bound.listen(BACKLOG)
    except OSError as error:
        bound.close()
        raise CannotBind(cannot_listen(listener, error)) from None
    bound.setblocking(False)
    return bound
