"""The schema of the configuration: every key and every limit, with its reason and its default.

The texts are the operators' reference: etc/relay.toml and docs/configuration.rst are generated from
them (`make reference`). Defaults are written as in the file and read by the same code.
"""

import socket
from functools import cached_property
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from relay.config.values import (
    Delivery,
    Domain,
    Duration,
    DurationOrNever,
    FilePath,
    IPNetwork,
    ListenAddress,
    LogFile,
    Mailbox,
    Name,
    Pattern,
    SenderPattern,
    Size,
    StoreUrl,
    UpstreamHost,
    Wait,
    Workers,
)


def _key(default: Any = ..., about: str = "", example: Any = None, **more: Any) -> Any:
    """A field: its default as written in TOML, what it is, and an example where that differs."""
    shown = default if example is None else example
    examples = None if shown is ... else [shown]
    return Field(default, description=about, examples=examples, validate_default=True, **more)


class Table(BaseModel):
    """A table of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Queue(Table):
    """Where mail waits, and how long."""

    store: StoreUrl = _key(
        ...,
        'Where the queue is kept: "sqlite:" and a directory of its own on a local disk, or '
        '"memory:" (for tests only: a crash loses mail).',
        "sqlite:/var/spool/relay",
    )
    retry: tuple[Wait, ...] = _key(
        ("1m", "5m", "15m", "30m", "1h", "2h", "4h"),
        "The waits between attempts; the last one repeats. Each is varied by up to a tenth.",
        min_length=1,
        max_length=100,
    )
    warn_after: DurationOrNever = _key(
        "4h", 'Tell the sender once that a message is still waiting after this time; or "never".'
    )
    expire_after: Wait = _key(
        "5d", "Give up and tell the sender after this time (RFC 5321 4.5.4.1: at least 4-5 days)."
    )
    min_free: Size = _key(
        "100M",
        "With less free disk space than this new mail is answered 452 4.3.1; delivery goes on.",
    )
    max_in_hand: int = _key(
        200,
        "Messages taken in hand at a time for one next hop; the others wait on disk, whatever "
        "their number.",
        ge=1,
        le=10000,
    )
    max_content_memory: Size = _key(
        "64M",
        "Memory for content that is coming in, over all sessions; above it clients are slowed.",
        ge=1 << 20,
    )


class Listener(Table):
    """An address where mail is taken. One table for each."""

    name: Name = _key(..., "Its name, for routes and the traffic log.", "lan")
    address: ListenAddress = _key(
        ...,
        'IP address and port; "[::]:25" for IPv6, "0.0.0.0:25" for every IPv4 address of this '
        "machine; port 0 picks a free one.",
        "127.0.0.1:2525",
    )
    relay_networks: tuple[IPNetwork, ...] = _key(
        ("127.0.0.0/8", "::1/128"),
        "Clients that may send to anyone. Give only networks whose every machine you trust.",
    )
    accept_recipients: tuple[Pattern, ...] = _key(
        (),
        'What anyone else may send to: a gateway\'s own domains, e.g. ["*@example.net"].',
    )
    bare_newline: Literal["normalise", "reject"] = _key(
        "normalise",
        'A line feed without carriage return in content: "normalise" makes it a line end, '
        '"reject" refuses the message (550 5.6.11). It never ends content, so nothing can be '
        "smuggled behind one.",
    )
    max_message_size: Size = _key(
        "50M",
        "Larger messages are refused with 552 5.3.4 (RFC 1870; RFC 5321 4.5.3.1.7: at least 64K).",
        ge=1,
    )
    max_recipients: int = _key(
        1000,
        "Recipients of one message (RFC 5321 4.5.3.1.8: at least 100); further ones are answered "
        "452 4.5.3 and sent by the client in a further transaction.",
        ge=1,
        le=50000,
    )
    max_connections: int = _key(
        2000, "Sessions at a time; further clients are answered 421 4.7.0.", ge=1, le=100000
    )
    max_connections_per_client: int = _key(
        50, "Sessions at a time from one IP address.", ge=1, le=100000
    )
    idle_timeout: Wait = _key(
        "5m", "A silent client is answered 421 4.4.2 after this time (RFC 5321 4.5.3.2.7)."
    )
    max_errors: int = _key(
        20, "Refused commands in one session, after which it is closed with 421.", ge=1, le=10000
    )
    max_received: int = _key(
        100,
        "Received fields of a message: one with more goes in a circle and is refused with "
        "554 5.4.6 (RFC 5321 6.3: at least 100).",
        ge=1,
        le=1000,
    )

    @property
    def host(self) -> str:
        return self.address.host

    @property
    def port(self) -> int:
        return self.address.port


class Timeouts(Table):
    """How long an upstream may take for each step; the defaults are those of RFC 5321 4.5.3.2."""

    connect: Wait = _key("30s", "To open the connection.")
    greeting: Wait = _key("5m", "From there to its 220 (RFC 5321 4.5.3.2.1).")
    hello: Wait = _key("5m", "To answer EHLO or HELO.")
    mail: Wait = _key("5m", "To answer MAIL FROM (4.5.3.2.2).")
    rcpt: Wait = _key("5m", "To answer RCPT TO (4.5.3.2.3).")
    data: Wait = _key("2m", "To answer DATA with 354 (4.5.3.2.4).")
    block: Wait = _key("3m", "To take a block of content (4.5.3.2.5).")
    final: Wait = _key(
        "10m",
        "To answer the final dot (4.5.3.2.6). Shorter means duplicates: it may have accepted.",
    )
    quit: Wait = _key("5s", "To answer QUIT, when nothing is at stake any more.")


class Upstream(Table):
    """A server, or several equal ones, that mail is relayed to. One table for each."""

    name: Name = _key(..., "Its name, for routes, the traffic log and relayctl.", "smarthost")
    hosts: tuple[UpstreamHost, ...] = _key(
        ...,
        'Its hosts, tried in this order: "smtp://HOST:PORT" (port 25 where none is given) or '
        '"lmtp://HOST:PORT" (24).',
        ["smtp://127.0.0.1:2526"],
        min_length=1,
        max_length=100,
    )
    max_connections: int = _key(20, "Sessions at a time to each host.", ge=1, le=1000)
    max_messages_per_connection: int = _key(
        0, "Messages after which a session is ended and a new one opened; 0: no limit.", ge=0
    )
    idle_timeout: Duration = _key("5s", "How long an idle session is kept for the next message.")
    max_recipients: int = _key(
        100,
        "Recipients in one transaction (RFC 5321 4.5.3.1.8: every server takes 100).",
        ge=1,
        le=50000,
    )
    timeouts: Timeouts = _key(Timeouts())


class Route(Table):
    """Which mail goes where: the first route that matches wins; mail that none matches is refused
    (550 5.7.1). A test that is left out matches everything. One table for each."""

    recipients: tuple[Pattern, ...] = _key(
        (),
        "Patterns for the whole recipient address; the domain's case does not matter; "
        '"postmaster" stands for the address without a domain.',
        ["*@example.org", "*@*.example.net"],
    )
    senders: tuple[SenderPattern, ...] = _key(
        (),
        'Patterns for the reverse-path; "<>" is the null reverse-path of bounces, and "*" matches '
        "that too.",
        ["*"],
    )
    listeners: tuple[Name, ...] = _key((), "Names of the listeners it came in by.", ["lan"])
    upstream: Name = _key(..., "Name of the upstream it goes to.", "smarthost")
    delivery: Delivery = _key(
        "store",
        'What the client\'s 250 means. "store": the message is on disk. "hybrid": it is tried '
        "upstream while the client waits; 250 where it was accepted there, and nothing is written; "
        "a refusal of all recipients goes to the client; else it is on disk. "
        '"proxy": the upstream\'s own replies, recipient by recipient; nothing is ever stored, and '
        "where no upstream can be reached the client is told 451.",
    )
    hybrid_wait: Wait = _key(
        "30s",
        "How long a client waits for the upstream in hybrid delivery; then the message is stored, "
        "and the attempt goes on.",
    )

    proxy_wait: Wait = _key(
        "30s",
        "How long a client waits for a free session with the upstream in proxy delivery; then it "
        "is answered 451 4.4.5.",
    )

    @cached_property
    def is_proxied(self) -> bool:
        return self.delivery == "proxy"

    @cached_property
    def client_waits(self) -> float | None:
        """Seconds for which a client waits for the upstream; None: not at all."""
        return self.hybrid_wait if self.delivery == "hybrid" else None


class TrafficLog(Table):
    """What becomes of each message: one JSON object a line. Without this table none is written."""

    file: LogFile = _key(
        ...,
        'Its file, opened anew on SIGHUP; "-" for standard output.',
        "/var/log/relay/traffic.jsonl",
    )


class Admin(Table):
    """Operators' commands over TCP (optional). relayctl on this machine does not need it: it uses
    control.sock in the queue's directory."""

    address: ListenAddress = _key(..., "IP address and port.", "127.0.0.1:8025")
    token_file: FilePath = _key(
        ...,
        "File with the secret that clients must send; readable by the relay's user only.",
        "/etc/relay/admin.token",
    )


class Settings(Table):
    """The whole file."""

    hostname: Domain = Field(
        default_factory=socket.getfqdn,
        description="The name of this relay: in its greeting, in EHLO and in Received fields. "
        "Default: this machine's name.",
        examples=["relay.example.net"],
        validate_default=True,
    )
    postmaster: Mailbox | None = _key(
        None,
        "Gets what cannot be returned to its sender. Default: nobody; such mail is kept, with an "
        "alarm.",
        "admin@example.net",
    )
    stop_within: Duration = _key(
        "30s",
        "How long running deliveries may go on after SIGTERM. What is not done then is in the "
        "queue and goes on after the next start.",
    )
    workers: Workers = _key(
        1,
        "Processes that share the work, each with a queue of its own; limits are totals over all. "
        '"auto": one for each processor. 1: no more than this one.',
        ge=1,
        le=64,
    )
    queue: Queue = _key()
    listeners: tuple[Listener, ...] = _key(..., alias="listener", max_length=100)
    upstreams: tuple[Upstream, ...] = _key((), alias="upstream", max_length=10000)
    routes: tuple[Route, ...] = _key((), alias="route", max_length=10000)
    traffic_log: TrafficLog | None = _key(None)
    admin: Admin | None = _key(None)
