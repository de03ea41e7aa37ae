"""The configuration: `load(path)` gives a Config or raises ConfigError."""

from relay.config.listener import Listener
from relay.config.reading import Config, ConfigError, load
from relay.config.schema import Admin, Dns, Queue, Route, TrafficLog
from relay.config.upstream import Timeouts, Upstream
from relay.config.values import HostAddress, Network, SocketAddress, SystemdAddress

__all__ = [
    "Admin",
    "Config",
    "ConfigError",
    "Dns",
    "HostAddress",
    "Listener",
    "Network",
    "Queue",
    "Route",
    "SocketAddress",
    "SystemdAddress",
    "Timeouts",
    "TrafficLog",
    "Upstream",
    "load",
]
