"""The schema of the whole file, and of its smaller tables."""

import socket
from functools import cached_property

from pydantic import Field

from relay.config.listener import Listener
from relay.config.table import Table, item
from relay.config.upstream import Upstream
from relay.config.values import (
    Delivery,
    DnsServer,
    Domain,
    Duration,
    DurationOrNever,
    FilePath,
    ListenAddress,
    LogFile,
    Mailbox,
    Name,
    Pattern,
    PythonName,
    SenderPattern,
    Size,
    StoreUrl,
    Wait,
    Workers,
)


class Queue(Table):
    """Where mail waits, and how long."""

    store: StoreUrl = item(
        ...,
        'Where the queue is kept: "sqlite:" and a directory of its own on a local disk, or '
        '"memory:" (for tests only: a crash loses mail). A change needs a restart.',
        "sqlite:/var/spool/relay",
    )
    retry: tuple[Wait, ...] = item(
        ("1m", "5m", "15m", "30m", "1h", "2h", "4h"),
        "The waits between attempts; the last one repeats. Each is varied by up to a tenth.",
        min_length=1,
        max_length=100,
    )
    warn_after: DurationOrNever = item(
        "4h", 'Tell the sender once that a message is still waiting after this time; or "never".'
    )
    expire_after: Wait = item(
        "5d", "Give up and tell the sender after this time (RFC 5321 4.5.4.1: at least 4-5 days)."
    )
    min_free: Size = item(
        "100M",
        "With less free disk space than this new mail is answered 452 4.3.1; delivery goes on.",
    )
    max_in_hand: int = item(
        200,
        "Messages taken in hand at a time for one next hop; the others wait on disk, whatever "
        "their number.",
        ge=1,
        le=10000,
    )
    max_content_memory: Size = item(
        "64M",
        "Memory for content that is coming in, over all sessions; above it clients are slowed. A "
        "change needs a restart.",
        ge=1 << 20,
    )


class Route(Table):
    """Which mail goes where: the first route that matches wins; mail that none matches is refused
    (550 5.7.1). A test that is left out matches everything. One table for each."""

    recipients: tuple[Pattern, ...] = item(
        (),
        "Patterns for the whole recipient address; the domain's case does not matter; "
        '"postmaster" stands for the address without a domain.',
        ["*@example.org", "*@*.example.net"],
    )
    senders: tuple[SenderPattern, ...] = item(
        (),
        'Patterns for the reverse-path; "<>" is the null reverse-path of bounces, and "*" matches '
        "that too.",
        ["*"],
    )
    listeners: tuple[Name, ...] = item((), "Names of the listeners it came in by.", ["lan"])
    upstream: Name = item(..., "Name of the upstream it goes to.", "smarthost")
    delivery: Delivery = item(
        "store",
        'What the client\'s 250 means. "store": the message is on disk. "hybrid": it is tried '
        "upstream while the client waits; 250 where it was accepted there, and nothing is written; "
        "a refusal of all recipients goes to the client; else it is on disk. "
        '"proxy": the upstream\'s own replies, recipient by recipient; nothing is ever stored, and '
        "where no upstream can be reached the client is told 451.",
    )
    hybrid_wait: Wait = item(
        "30s",
        "How long a client waits for the upstream in hybrid delivery; then the message is stored, "
        "and the attempt goes on.",
    )

    proxy_wait: Wait = item(
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


class Dns(Table):
    """The name servers that mx: upstreams ask."""

    servers: tuple[DnsServer, ...] = item(
        (),
        "Resolvers, asked in this order: IP addresses, with a port where it is not 53. Default: "
        "those of /etc/resolv.conf.",
        ["127.0.0.1:5353"],
        max_length=10,
    )
    timeout: Wait = item(
        "10s", "For the answer to one question, over all servers; then the mail is delayed."
    )
    trusted: bool = item(
        False,
        "The servers validate DNSSEC, and nobody between them and this relay can change their "
        "answers (a resolver on this machine): their word that an answer is secure (the AD bit) is "
        "believed. They must be named in servers. DANE needs it.",
    )


class TrafficLog(Table):
    """What becomes of each message: one JSON object a line. Without this table none is written."""

    file: LogFile = item(
        ...,
        'Its file, opened anew on SIGHUP; "-" for standard output. A change needs a restart.',
        "/var/log/relay/traffic.jsonl",
    )


class Auth(Table):
    """Who may authenticate at listeners with auth = "offered" or "required" (optional). Either
    users or checker."""

    users: FilePath | None = item(
        None,
        "File with the users, kept by: relayctl user add|remove|list. Readable by the relay's user "
        "only; it is read again when it changes.",
        "/etc/relay/users",
    )
    checker: PythonName | None = item(
        None,
        "In place of users, a function of your own that makes a twisted.cred checker for "
        "IUsernamePassword; it is given passwords, so SCRAM-SHA-256 is not offered with it.",
        "package.module:factory",
    )
    max_checks: int = item(
        2,
        "Passwords checked at a time in each process; a thread and 20 MB each for users, and as "
        "many more as max_waiting_checks for checker.",
        ge=1,
        le=64,
    )
    max_waiting_checks: int = item(
        100,
        "Passwords that wait for their check; beyond it clients are answered 454 4.7.0.",
        ge=0,
        le=10000,
    )
    remember_for: Duration = item(
        "5m",
        "How long a password that was right is remembered, as a keyed hash in memory, so that a "
        'client which comes for each message costs no slow check each time; "0s": not at all.',
    )
    failure_delay: Duration = item(
        "1s",
        "How long the reply to a failed AUTH is held back; doubled with each failure from the same "
        "address (IPv6: the same /64).",
    )
    max_failure_delay: Duration = item("10s", "The most that such a reply is held back.")
    max_failures: int = item(
        20,
        "Failures from one address, after which it is shut out: AUTH is answered 421 4.7.0. The "
        "same wrong password again is not counted.",
        ge=1,
        le=100000,
    )
    shut_out_for: Wait = item(
        "15m",
        "How long; failures are forgotten after the same time without another.",
    )


class Admin(Table):
    """Operators' commands over TCP (optional). relayctl on this machine does not need it: it uses
    control.sock in the queue's directory. A change needs a restart."""

    address: ListenAddress = item(..., "IP address and port.", "127.0.0.1:8025")
    token_file: FilePath = item(
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
    postmaster: Mailbox | None = item(
        None,
        "Gets what cannot be returned to its sender. Default: nobody; such mail is kept, with an "
        "alarm.",
        "admin@example.net",
    )
    stop_within: Duration = item(
        "30s",
        "How long running deliveries may go on after SIGTERM. What is not done then is in the "
        "queue and goes on after the next start.",
    )
    workers: Workers = item(
        1,
        "Processes that share the work, each with a queue of its own; limits are totals over all. "
        '"auto": one for each processor. 1: no more than this one. A change needs a restart.',
        ge=1,
        le=64,
    )
    queue: Queue = item()
    listeners: tuple[Listener, ...] = item(..., alias="listener", max_length=100)
    upstreams: tuple[Upstream, ...] = item((), alias="upstream", max_length=10000)
    routes: tuple[Route, ...] = item((), alias="route", max_length=10000)
    dns: Dns = item(Dns())
    auth: Auth | None = item(None)
    traffic_log: TrafficLog | None = item(None)
    admin: Admin | None = item(None)

    @property
    def takes_passwords(self) -> bool:
        return any(listener.auth != "none" for listener in self.listeners)
