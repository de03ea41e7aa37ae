"""Whether a mail host is this relay itself: by its name, or by an address that it listens on."""

import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address

from relay.config import Listener
from relay.mail.ip_address import unmapped

ANY_IPV4 = str(IPv4Address(0))
ANY_IPV6 = str(IPv6Address(0))

MAX_REMEMBERED = 4096
"""Addresses whose answer is kept; when full, all are forgotten."""


class Ourselves:
    """`port`: where mail hosts are connected to; a listener at another port is not met there."""

    def __init__(self, hostname: str, listeners: Iterable[Listener], port: int) -> None:
        self._hostname = hostname.lower()
        hosts = {listener.host for listener in listeners if listener.port == port}
        self._addresses = hosts - {ANY_IPV4, ANY_IPV6}
        self._takes_all_ipv6 = ANY_IPV6 in hosts
        self._takes_all_ipv4 = ANY_IPV4 in hosts or ANY_IPV6 in hosts  # both families come there
        self._remembered: dict[str, bool] = {}

    def is_us(self, name: str, address: str) -> bool:
        """Either may be "". An address that names no host leads here, too."""
        if name:
            return name == self._hostname
        host = unmapped(address)
        address = str(host)
        if host.is_unspecified or address in self._addresses:
            return True
        takes_all = self._takes_all_ipv6 if ":" in address else self._takes_all_ipv4
        return takes_all and self._is_here(address)

    def _is_here(self, address: str) -> bool:
        """Only an address of this machine can be bound; nothing is sent."""
        if address not in self._remembered:
            if len(self._remembered) >= MAX_REMEMBERED:
                self._remembered.clear()
            self._remembered[address] = _can_bind(address)
        return self._remembered[address]


def _can_bind(address: str) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as bound:
            bound.bind((address, 0))
    except OSError:
        return False
    return True
