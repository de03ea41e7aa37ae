"""The schema of the configuration: every key and every limit, with its reason and its default.

The texts are the operators' reference: etc/relay.toml and docs/configuration.rst are generated from
them (`make reference`). Defaults are written as in the file and read by the same code.
"""

import socket
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from relay.config.values import (
    BindAddress,
    CertificatePattern,
    Delivery,
    DnsServer,
    Domain,
    Duration,
    DurationOrNever,
    FilePath,
    HttpsUrl,
    IPNetwork,
    Keyword,
    ListenAddress,
    ListenerAddress,
    LogFile,
    Mailbox,
    Name,
    Pattern,
    PythonName,
    Rate,
    ReplyStart,
    SenderPattern,
    Size,
    SocketAddress,
    StoreUrl,
    UpstreamHost,
    UserName,
    Variable,
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
        '"memory:" (for tests only: a crash loses mail). A change needs a restart.',
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
        "Memory for content that is coming in, over all sessions; above it clients are slowed. A "
        "change needs a restart.",
        ge=1 << 20,
    )


class Certificate(Table):
    """A certificate for clients to see, and its key. Several are told apart by the host names in
    them (SNI); the first is for everybody else. Changed files are used from the next handshake
    on; should they be unusable, the former ones stay in use, with an alarm."""

    certificate: FilePath = _key(
        ...,
        "PEM file with the certificate and those between it and the authority, in this order.",
        "/etc/relay/tls/fullchain.pem",
    )
    key: FilePath | None = _key(
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

    name: Name = _key(..., "Its name, for routes and the traffic log.", "lan")
    address: ListenerAddress = _key(
        ...,
        'IP address and port; "[::]:25" for IPv6, "0.0.0.0:25" for every IPv4 address of this '
        'machine; port 0 picks a free one. "systemd:0": the first socket that systemd hands over '
        '(socket activation), or "systemd:NAME" by its FileDescriptorName.',
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
    proxy_protocol_from: tuple[IPNetwork, ...] = _key(
        (),
        "Load balancers whose every connection begins with a PROXY header (HAProxy's send-proxy or "
        "send-proxy-v2). The client that it names is the client, for everything here; without a "
        "header nothing is taken from them. From anyone else a header is a bad command.",
        ["10.0.0.1/32"],
    )
    xclient_from: tuple[IPNetwork, ...] = _key(
        (),
        "Proxies that may name the real client by XCLIENT (as Postfix documents it): relay_networks"
        " and limits then judge that client. Only they are offered it. Each can pretend to be any "
        "client: give only machines that you trust as relay_networks.",
        ["10.0.0.2/32"],
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
        50,
        "Sessions at a time from one IP address (of those that may not relay: one /64 of IPv6).",
        ge=1,
        le=100000,
    )
    idle_timeout: Wait = _key(
        "5m", "A silent client is answered 421 4.4.2 after this time (RFC 5321 4.5.3.2.7)."
    )
    min_rate: int = _key(
        100,
        "Octets a second, over a minute, that a client must send while it is in the midst of a "
        "command or of content: a slower one is answered 421 4.4.2. 0: no limit.",
        ge=0,
        le=1000000,
    )
    max_errors: int = _key(
        20, "Refused commands in one session, after which it is closed with 421.", ge=1, le=10000
    )
    max_errors_per_client: int = _key(
        300,
        "Refused commands a minute of one IP address (a /64 of IPv6) that may not relay, over all "
        "its sessions; a MiB of which no message comes counts as one. Beyond it they are closed "
        "and new ones refused, with 421 4.7.0, until time has made up for it. 0: no limit.",
        ge=0,
        le=1000000,
    )
    error_delay: Duration = _key(
        "1s",
        "From half of max_errors on, a refusal is held back for this time, and what the client "
        'pipelined behind it waits too. "0s": never.',
    )
    auth: Literal["none", "offered", "required"] = _key(
        "none",
        'Whether clients may authenticate, as users of [auth]: "offered" (who does may send to '
        'anyone, as relay_networks may), or "required" (530 5.7.0 to MAIL from everybody else).',
    )
    auth_without_tls: bool = _key(
        False,
        "Take passwords over connections that are not encrypted: whoever listens can read them.",
    )
    max_received: int = _key(
        100,
        "Received fields of a message: one with more goes in a circle and is refused with "
        "554 5.4.6 (RFC 5321 6.3: at least 100).",
        ge=1,
        le=1000,
    )
    tls: Literal["none", "starttls", "required", "implicit"] = _key(
        "none",
        '"starttls": offered (RFC 3207). "required": and demanded before MAIL (530 5.7.0), which '
        "no server for mail from anyone may do. "
        '"implicit": from the first octet on (RFC 8314), as is usual on port 465.',
    )
    tls_max: Literal["1.2", "1.3"] = _key(
        "1.3",
        "The highest TLS version offered; the lowest is 1.2. Outlook breaks off STARTTLS where "
        'it gets session tickets, which are off in 1.2 and not in 1.3: "1.2" cures that.',
    )
    handshake_timeout: Wait = _key("30s", "How long a client may take for the TLS handshake.")
    client_ca: FilePath | None = _key(
        None,
        "PEM file with authorities: clients are asked for a certificate of theirs. Who has none is "
        "served all the same. Default: nobody is asked.",
        "/etc/relay/tls/clients.pem",
    )
    relay_certificates: tuple[CertificatePattern, ...] = _key(
        (),
        "Clients that may send to anyone, by the names in their certificate, verified by client_ca "
        "(DNS names and mail addresses; the common name where there are none), e.g. "
        '["*.printers.example.net"]. "*" alone: every such client, '
        "for an authority that is your own.",
    )
    profile: Literal["standard", "legacy-device"] = _key(
        "standard",
        '"legacy-device": for old printers and scanners on a network of your own. Addresses '
        "without angle brackets are taken, and TLS 1.0 and 1.1 are offered.",
    )
    add_missing_headers: bool = _key(
        False,
        "Add Date, Message-ID and From (the reverse-path) to messages that lack them (RFC 6409 8): "
        "for programs and devices that send bare text, not for mail from elsewhere.",
    )
    certificates: tuple[Certificate, ...] = _key((), max_length=100)

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


class Timeouts(Table):
    """How long an upstream may take for each step; the defaults are those of RFC 5321 4.5.3.2."""

    connect: Wait = _key("30s", "To open the connection.")
    greeting: Wait = _key("5m", "From there to its 220 (RFC 5321 4.5.3.2.1).")
    hello: Wait = _key("5m", "To answer EHLO or HELO.")
    auth: Wait = _key("1m", "To answer AUTH, and each response of it.")
    tls: Wait = _key("1m", "To answer STARTTLS, and again for the TLS handshake.")
    mail: Wait = _key("5m", "To answer MAIL FROM (4.5.3.2.2).")
    rcpt: Wait = _key("5m", "To answer RCPT TO (4.5.3.2.3).")
    data: Wait = _key("2m", "To answer DATA with 354 (4.5.3.2.4).")
    block: Wait = _key("3m", "To take a block of content (4.5.3.2.5).")
    final: Wait = _key(
        "10m",
        "To answer the final dot (4.5.3.2.6). Shorter means duplicates: it may have accepted.",
    )
    quit: Wait = _key("5s", "To answer QUIT, when nothing is at stake any more.")


Mechanism = Literal["SCRAM-SHA-256", "PLAIN", "LOGIN", "OAUTHBEARER", "XOAUTH2"]


def _user_key() -> Any:
    return _key(
        None,
        "Whom to authenticate as (AUTH, RFC 4954), always before any mail. With it sessions are "
        "under TLS, whatever tls says, or none. Default: no AUTH.",
        "relay@example.net",
    )


def _password_file_key() -> Any:
    return _key(
        None,
        "File with its password on one line; readable by the relay's user only. A change is taken "
        "up at once.",
        "/etc/relay/smarthost.password",
    )


def _password_env_key() -> Any:
    return _key(
        None, "Or the environment variable that holds the password.", "RELAY_SMARTHOST_PASSWORD"
    )


def _mechanisms_key() -> Any:
    return _key(
        (),
        "Mechanisms that may be used: the strongest of them that a host offers is taken. Default: "
        "any that the credentials are good for.",
        ["SCRAM-SHA-256", "PLAIN"],
    )


class OAuth(Table):
    """An access token in the place of a password (OAuth 2.0), fetched over HTTPS and renewed in
    time (optional)."""

    grant: Literal["refresh-token", "client-credentials", "service-account"] = _key(
        ...,
        'How it is had. "refresh-token": for a refresh token (RFC 6749 6). "client-credentials": '
        'for client_id and its secret alone (4.4). "service-account": for a JWT that is signed '
        "here (RFC 7523, RS256), as Google's service accounts do.",
        "refresh-token",
    )
    token_url: HttpsUrl = _key(
        ..., "Where tokens are given out.", "https://login.example.net/oauth2/v2.0/token"
    )
    client_id: str | None = _key(
        None,
        "The client's name there; for a service account its e-mail address (iss of the JWT).",
        "b1946ac9-2492-4d23-b3f1-3f0f0a2d5c11",
        min_length=1,
        max_length=1000,
    )
    client_secret_file: FilePath | None = _key(
        None,
        "File with the client's secret; readable by the relay's user only.",
        "/etc/relay/client.secret",
    )
    client_secret_env: Variable | None = _key(
        None, "Or the environment variable that holds it.", "RELAY_CLIENT_SECRET"
    )
    refresh_token_file: FilePath | None = _key(
        None,
        "File with the refresh token; readable by the relay's user only. Where the server gives a "
        "new one it is written there, so its folder must be writable.",
        "/var/lib/relay/refresh.token",
    )
    key_file: FilePath | None = _key(
        None,
        "File with the service account's RSA key (PEM), or the JSON file that Google gives out, "
        "from which client_id is read, too; readable by the relay's user only.",
        "/etc/relay/service-account.json",
    )
    scope: str = _key(
        "", "The scopes asked for, parted by spaces.", "https://mail.google.com/", max_length=4000
    )
    ca_file: FilePath | None = _key(
        None,
        "File with the authorities (PEM) trusted for token_url. Default: the system's.",
        "/etc/relay/token-ca.pem",
    )
    timeout: Wait = _key("20s", "How long mail waits for a token before it is delayed.")


class Identity(Table):
    """One of several identities at the upstream: the first whose tests all match the message is
    used, else that of the upstream itself. Each has sessions, limits and a lane
    ("UPSTREAM:NAME") of its own."""

    name: Name = _key(..., "Its name, for lanes and the traffic log.", "billing")
    senders: tuple[SenderPattern, ...] = _key(
        (), "Patterns for the reverse-path; none: any.", ["billing@example.net"]
    )
    users: tuple[UserName, ...] = _key(
        (), "Users who authenticated here (auth of the listener); none: whoever.", ["printer"]
    )
    user: UserName | None = _user_key()
    password_file: FilePath | None = _password_file_key()
    password_env: Variable | None = _password_env_key()
    mechanisms: tuple[Mechanism, ...] = _mechanisms_key()
    oauth: OAuth | None = _key(None)


class Upstream(Table):
    """A server, or several equal ones, that mail is relayed to. One table for each."""

    name: Name = _key(..., "Its name, for routes, the traffic log and relayctl.", "smarthost")
    hosts: tuple[UpstreamHost, ...] = _key(
        ...,
        'Its hosts, tried in this order: "smtp://HOST:PORT" (port 25 where none is given), '
        '"smtps://HOST:PORT" (465; TLS from the first octet) or "lmtp://HOST:PORT" (24). ["mx:"] '
        "alone: the mail hosts of each recipient's domain, as DNS names them (RFC 5321 5.1); "
        '"mx::2525" connects to another port than 25.',
        ["smtp://127.0.0.1:2526"],
        min_length=1,
        max_length=100,
    )
    profile: Literal["none", "m365", "gmail", "gmail-relay", "ses"] = _key(
        "none",
        "What is known of a provider, as defaults for the keys below: sessions, rate, recipients, "
        'mechanisms, the meaning of replies. "m365": Microsoft 365 (smtp.office365.com); "gmail": '
        'smtp.gmail.com; "gmail-relay": smtp-relay.gmail.com; "ses": Amazon SES. Each may be set '
        "all the same; relayctl check shows what comes from the profile.",
    )
    max_connections: int = _key(
        20, "Sessions at a time to each host, for each identity.", ge=1, le=1000
    )
    max_connections_in_all: int = _key(
        500,
        "Sessions at a time over all hosts that mx: leads to; each takes a file descriptor.",
        ge=1,
        le=100000,
    )
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
    xclient: bool = _key(
        False,
        "It takes our word for who the client is (Postfix: smtpd_authorized_xclient_hosts): in "
        "proxy delivery it is told so by XCLIENT, and judges that client in our place. A host that "
        "does not offer XCLIENT then gets no proxied mail, since it would judge this relay.",
    )
    xforward: bool = _key(
        False,
        "It logs who the client is (Postfix: smtpd_authorized_xforward_hosts): it is told so by "
        "XFORWARD before each message, where it offers that. Not together with xclient.",
    )
    tls: Literal["none", "opportunistic", "required", "verified", "dane", "mta-sts", "auto"] = _key(
        "auto",
        'Whether sessions are encrypted. "none": never. "opportunistic": where the host offers it '
        'and it works, else plain. "required": always. "verified": always, and the certificate '
        'must be the host\'s, by an authority that is trusted. By mx: alone, "dane": the '
        "certificate must be one that secure TLSA records name (RFC 7672; needs dns.trusted); "
        '"mta-sts": the domain publishes which hosts it has, and their certificates are verified '
        '(RFC 8461). "auto": DANE where there are secure TLSA records, else MTA-STS where there is '
        "a policy, else opportunistic; for hosts that are named here it is opportunistic. "
        "A host that cannot do what is asked "
        "gets no mail: that waits, and the traffic log says why.",
    )
    honour_tls_required_no: bool = _key(
        True,
        "By mx:, mail with the header field TLS-Required: No is sent even where the recipient's "
        'domain demands TLS that its hosts do not have (RFC 8689): under tls = "auto", "dane" or '
        '"mta-sts" it goes as by "opportunistic". The other values of tls hold for it, too. false: '
        "the field is ignored.",
    )
    ca_file: FilePath | None = _key(
        None,
        "File with the authorities (PEM) whose certificates are trusted, or the hosts' own "
        "certificates. Default: the authorities that the system trusts.",
        "/etc/relay/ca.pem",
    )
    client_certificate: FilePath | None = _key(
        None,
        "File with the certificate (PEM, with its chain) that is shown to hosts that ask for one; "
        "readable by the relay's user. Default: none.",
        "/etc/relay/client.pem",
    )
    client_key: FilePath | None = _key(
        None,
        "File with its private key. Default: in the same file.",
        "/etc/relay/client.key",
    )
    user: UserName | None = _user_key()
    password_file: FilePath | None = _password_file_key()
    password_env: Variable | None = _password_env_key()
    mechanisms: tuple[Mechanism, ...] = _mechanisms_key()
    auth_without_tls: bool = _key(
        False,
        "Authenticate over connections that are not encrypted, too: whoever listens can read the "
        "password.",
    )
    bind: BindAddress | None = _key(
        None,
        "IP address of this machine to connect from. Default: the system's choice.",
        "192.0.2.1",
    )
    helo: Domain | None = _key(
        None, "The name given in EHLO. Default: hostname.", "mail.example.net"
    )
    ignore_extensions: tuple[Keyword, ...] = _key(
        (),
        "EHLO keywords that are taken as not offered, where a host offers what it cannot do: e.g. "
        '["CHUNKING"].',
    )
    max_rate: Rate | None = _key(
        None,
        "Messages a second, minute, hour or day, over all hosts, for each identity, evenly and "
        "never in a burst; workers share it in equal parts. A restart earns no turn. Default: no "
        "limit.",
        "30/m",
    )
    throttle_replies: tuple[ReplyStart, ...] = _key(
        (),
        "How replies begin that mean too much mail, not this message: the lane backs off as a "
        "whole, and its other messages are not tried in vain. A 5xx among them (with text: some "
        "providers say so when a day's quota is spent) fails nothing.",
        ["454 Throttling failure"],
        max_length=100,
    )
    timeouts: Timeouts = _key(Timeouts())
    oauth: OAuth | None = _key(None)
    identities: tuple[Identity, ...] = _key((), alias="identity", max_length=1000)

    @property
    def own_tls(self) -> str:
        """What is asked of hosts that are named: there is nothing to look up."""
        level = "opportunistic" if self.tls == "auto" else self.tls
        if level == "opportunistic" and self.has_auth and not self.auth_without_tls:
            return "required"  # else credentials would be kept back, and mail with them
        return level

    @property
    def has_auth(self) -> bool:
        return self.user is not None or any(each.user is not None for each in self.identities)

    @property
    def is_by_domain(self) -> bool:
        """Each recipient's domain is a next hop of its own (mx:)."""
        return self.hosts[0].scheme == "mx"

    @property
    def ignored_keywords(self) -> frozenset[str]:
        return frozenset(self.ignore_extensions)


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


class Dns(Table):
    """The name servers that mx: upstreams ask."""

    servers: tuple[DnsServer, ...] = _key(
        (),
        "Resolvers, asked in this order: IP addresses, with a port where it is not 53. Default: "
        "those of /etc/resolv.conf.",
        ["127.0.0.1:5353"],
        max_length=10,
    )
    timeout: Wait = _key(
        "10s", "For the answer to one question, over all servers; then the mail is delayed."
    )
    trusted: bool = _key(
        False,
        "The servers validate DNSSEC, and nobody between them and this relay can change their "
        "answers (a resolver on this machine): their word that an answer is secure (the AD bit) is "
        "believed. They must be named in servers. DANE needs it.",
    )


class TrafficLog(Table):
    """What becomes of each message: one JSON object a line. Without this table none is written."""

    file: LogFile = _key(
        ...,
        'Its file, opened anew on SIGHUP; "-" for standard output. A change needs a restart.',
        "/var/log/relay/traffic.jsonl",
    )


class Auth(Table):
    """Who may authenticate at listeners with auth = "offered" or "required" (optional). Either
    users or checker."""

    users: FilePath | None = _key(
        None,
        "File with the users, kept by: relayctl user add|remove|list. Readable by the relay's user "
        "only; it is read again when it changes.",
        "/etc/relay/users",
    )
    checker: PythonName | None = _key(
        None,
        "In place of users, a function of your own that makes a twisted.cred checker for "
        "IUsernamePassword; it is given passwords, so SCRAM-SHA-256 is not offered with it.",
        "package.module:factory",
    )
    max_checks: int = _key(
        2,
        "Passwords checked at a time in each process; a thread and 20 MB each for users, and as "
        "many more as max_waiting_checks for checker.",
        ge=1,
        le=64,
    )
    max_waiting_checks: int = _key(
        100,
        "Passwords that wait for their check; beyond it clients are answered 454 4.7.0.",
        ge=0,
        le=10000,
    )
    remember_for: Duration = _key(
        "5m",
        "How long a password that was right is remembered, as a keyed hash in memory, so that a "
        'client which comes for each message costs no slow check each time; "0s": not at all.',
    )
    failure_delay: Duration = _key(
        "1s",
        "How long the reply to a failed AUTH is held back; doubled with each failure from the same "
        "address (IPv6: the same /64).",
    )
    max_failure_delay: Duration = _key("10s", "The most that such a reply is held back.")
    max_failures: int = _key(
        20,
        "Failures from one address, after which it is shut out: AUTH is answered 421 4.7.0. The "
        "same wrong password again is not counted.",
        ge=1,
        le=100000,
    )
    shut_out_for: Wait = _key(
        "15m",
        "How long; failures are forgotten after the same time without another.",
    )


class Admin(Table):
    """Operators' commands over TCP (optional). relayctl on this machine does not need it: it uses
    control.sock in the queue's directory. A change needs a restart."""

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
        '"auto": one for each processor. 1: no more than this one. A change needs a restart.',
        ge=1,
        le=64,
    )
    queue: Queue = _key()
    listeners: tuple[Listener, ...] = _key(..., alias="listener", max_length=100)
    upstreams: tuple[Upstream, ...] = _key((), alias="upstream", max_length=10000)
    routes: tuple[Route, ...] = _key((), alias="route", max_length=10000)
    dns: Dns = _key(Dns())
    auth: Auth | None = _key(None)
    traffic_log: TrafficLog | None = _key(None)
    admin: Admin | None = _key(None)

    @property
    def takes_passwords(self) -> bool:
        return any(listener.auth != "none" for listener in self.listeners)
