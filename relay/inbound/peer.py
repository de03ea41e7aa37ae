"""Whom a session is with: the peer of its connection, or the client that a trusted proxy names.

Holds what PROXY and XCLIENT told; may be told more, command by command. Trust in a proxy itself is
always a matter of the connection: nothing that XCLIENT said changes it.
"""

from collections.abc import Mapping
from dataclasses import replace

from relay.inbound.policy import UNKNOWN_HOST
from relay.mail.envelope import Origin
from relay.mail.ip_address import unmapped


class Peer:
    """`client` is "ip:port", `via` the proxy that named it by PROXY, or ""."""

    __slots__ = ("_told", "client", "may_introduce", "via")

    def __init__(self, client: str, via: str, *, may_introduce: bool) -> None:
        self.client = client
        self.via = via
        self.may_introduce = may_introduce  # by XCLIENT
        self._told: dict[str, str] = {}

    @property
    def is_introduced(self) -> bool:
        """XCLIENT told of a client: what the connection proves is the proxy's."""
        return bool(self._told)

    def introduce(self, told: Mapping[str, str], origin: Origin) -> Origin:
        """The session's origin from now on.

        A client may be told of in several commands (Postfix: each is a line of 512 octets). Another
        ADDR is another client: nothing that was told of the one before is true of that.
        """
        if "ADDR" in told and "ADDR" in self._told:
            self._told.clear()
        self._told.update(told)
        said = self._told.get
        host, port = client_host(self.client), self.client.rpartition(":")[2]
        if "ADDR" in self._told:
            host = _canonical(self._told["ADDR"])
            port = "0"
        if "PORT" in self._told:
            port = said("PORT") or "0"
        return replace(
            origin,
            client=client_at(host, port),
            name=said("NAME", ""),
            helo=told.get("HELO", ""),
            user=said("LOGIN", ""),
            protocol="",
            certificate="",
        )


def _canonical(address: str) -> str:
    return str(unmapped(address)) if address else UNKNOWN_HOST


def client_at(host: str, port: int | str) -> str:
    """ "ip:port", IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def client_host(client: str) -> str:
    return client.rpartition(":")[0].strip("[]")
