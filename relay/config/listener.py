"""The schema of [[listener]]: where mail is taken, from whom, and how much of it."""

from pathlib import Path
from typing import Literal

from relay.config.table import Table, item
from relay.config.values import (
    CertificatePattern,
    Duration,
    FilePath,
    IPNetwork,
    ListenerAddress,
    Name,
    Pattern,
    Size,
    SocketAddress,
    Wait,
)


class Certificate(Table):
    """A certificate for clients to see, and its key. Several are told apart by the host names in
    them (SNI); the first is for everybody else. Changed files are used from the next handshake
    on; should they be unusable, the former ones stay in use, with an alarm."""

    certificate: FilePath = item(
        ...,
        "PEM file with the certificate and those between it and the authority, in this order.",
        "/etc/relay/tls/fullchain.pem",
    )
    key: FilePath | None = item(
        None,
        "PEM file with its key, without a passphrase. Default: the key is in the same file.",
        "/etc/relay/tls/privkey.pem",
    )

    @property
    def key_file(self) -> Path:
        return self.certificate if self.key is None else self.key

    @property
    def paths(self) -> tuple[Path, ...]:
        return (self.certificate,) if self.key is None else (self.certificate, self.key)


class Listener(Table):
    """An address where mail is taken. One table for each."""

    name: Name = item(..., "Its name, for routes and the traffic log.", "lan")
    address: ListenerAddress = item(
        ...,
        'IP address and port; "[::]:25" for IPv6, "0.0.0.0:25" for every IPv4 address of this '
        'machine; port 0 picks a free one. "systemd:0": the first socket that systemd hands over '
        '(socket activation), or "systemd:NAME" by its FileDescriptorName.',
        "127.0.0.1:2525",
    )
    relay_networks: tuple[IPNetwork, ...] = item(
        ("127.0.0.0/8", "::1/128"),
        "Clients that may send to anyone. Give only networks whose every machine you trust.",
    )
    accept_recipients: tuple[Pattern, ...] = item(
        (),
        'What anyone else may send to: a gateway\'s own domains, e.g. ["*@example.net"].',
    )
    proxy_protocol_from: tuple[IPNetwork, ...] = item(
        (),
        "Load balancers whose every connection begins with a PROXY header (HAProxy's send-proxy or "
        "send-proxy-v2). The client that it names is the client, for everything here; without a "
        "header nothing is taken from them. From anyone else a header is a bad command.",
        ["10.0.0.1/32"],
    )
    xclient_from: tuple[IPNetwork, ...] = item(
        (),
        "Proxies that may name the real client by XCLIENT (as Postfix documents it): relay_networks"
        " and limits then judge that client. Only they are offered it. Each can pretend to be any "
        "client: give only machines that you trust as relay_networks.",
        ["10.0.0.2/32"],
    )
    bare_newline: Literal["normalise", "reject"] = item(
        "normalise",
        'A line feed without carriage return in content: "normalise" makes it a line end, '
        '"reject" refuses the message (550 5.6.11). It never ends content, so nothing can be '
        "smuggled behind one.",
    )
    max_message_size: Size = item(
        "50M",
        "Larger messages are refused with 552 5.3.4 (RFC 1870; RFC 5321 4.5.3.1.7: at least 64K).",
        ge=1,
    )
    max_recipients: int = item(
        1000,
        "Recipients of one message (RFC 5321 4.5.3.1.8: at least 100); further ones are answered "
        "452 4.5.3 and sent by the client in a further transaction.",
        ge=1,
        le=50000,
    )
    max_connections: int = item(
        2000, "Sessions at a time; further clients are answered 421 4.7.0.", ge=1, le=100000
    )
    max_connections_per_client: int = item(
        50,
        "Sessions at a time from one IP address (of those that may not relay: one /64 of IPv6).",
        ge=1,
        le=100000,
    )
    idle_timeout: Wait = item(
        "5m", "A silent client is answered 421 4.4.2 after this time (RFC 5321 4.5.3.2.7)."
    )
    min_rate: int = item(
        100,
        "Octets a second, over a minute, that a client must send while it is in the midst of a "
        "command or of content: a slower one is answered 421 4.4.2. 0: no limit.",
        ge=0,
        le=1000000,
    )
    max_errors: int = item(
        20, "Refused commands in one session, after which it is closed with 421.", ge=1, le=10000
    )
    max_errors_per_client: int = item(
        300,
        "Refused commands a minute of one IP address (a /64 of IPv6) that may not relay, over all "
        "its sessions; a MiB of which no message comes counts as one. Beyond it they are closed "
        "and new ones refused, with 421 4.7.0, until time has made up for it. 0: no limit.",
        ge=0,
        le=1000000,
    )
    error_delay: Duration = item(
        "1s",
        "From half of max_errors on, a refusal is held back for this time, and what the client "
        'pipelined behind it waits too. "0s": never.',
    )
    auth: Literal["none", "offered", "required"] = item(
        "none",
        'Whether clients may authenticate, as users of [auth]: "offered" (who does may send to '
        'anyone, as relay_networks may), or "required" (530 5.7.0 to MAIL from everybody else).',
    )
    auth_without_tls: bool = item(
        False,
        "Take passwords over connections that are not encrypted: whoever listens can read them.",
    )
    max_received: int = item(
        100,
        "Received fields of a message: one with more goes in a circle and is refused with "
        "554 5.4.6 (RFC 5321 6.3: at least 100).",
        ge=1,
        le=1000,
    )
    tls: Literal["none", "starttls", "required", "implicit"] = item(
        "none",
        '"starttls": offered (RFC 3207). "required": and demanded before MAIL (530 5.7.0), which '
        "no server for mail from anyone may do. "
        '"implicit": from the first octet on (RFC 8314), as is usual on port 465.',
    )
    tls_max: Literal["1.2", "1.3"] = item(
        "1.3",
        "The highest TLS version offered; the lowest is 1.2. Outlook breaks off STARTTLS where "
        'it gets session tickets, which are off in 1.2 and not in 1.3: "1.2" cures that.',
    )
    handshake_timeout: Wait = item("30s", "How long a client may take for the TLS handshake.")
    client_ca: FilePath | None = item(
        None,
        "PEM file with authorities: clients are asked for a certificate of theirs. Who has none is "
        "served all the same. Default: nobody is asked.",
        "/etc/relay/tls/clients.pem",
    )
    relay_certificates: tuple[CertificatePattern, ...] = item(
        (),
        "Clients that may send to anyone, by the names in their certificate, verified by client_ca "
        "(DNS names and mail addresses; the common name where there are none), e.g. "
        '["*.printers.example.net"]. "*" alone: every such client, '
        "for an authority that is your own.",
    )
    profile: Literal["standard", "legacy-device"] = item(
        "standard",
        '"legacy-device": for old printers and scanners on a network of your own. Addresses '
        "without angle brackets are taken, and TLS 1.0 and 1.1 are offered.",
    )
    add_missing_headers: bool = item(
        False,
        "Add Date, Message-ID and From (the reverse-path) to messages that lack them (RFC 6409 8): "
        "for programs and devices that send bare text, not for mail from elsewhere.",
    )
    certificates: tuple[Certificate, ...] = item((), max_length=100)

    @property
    def has_tls(self) -> bool:
        return self.tls != "none"

    @property
    def has_own_address(self) -> bool:
        """Not a port 0, which becomes another one each time."""
        return not isinstance(self.address, SocketAddress) or bool(self.address.port)

    @property
    def host(self) -> str:
        """Its IP address; "": only systemd knows."""
        return self.address.host if isinstance(self.address, SocketAddress) else ""

    @property
    def port(self) -> int:
        """0: known once it is bound."""
        return self.address.port if isinstance(self.address, SocketAddress) else 0
