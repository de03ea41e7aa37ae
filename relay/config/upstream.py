"""The schema of [[upstream]]: where mail is relayed to, as whom, and how patiently."""

from typing import Any, Literal

from relay.config.table import Table, item
from relay.config.values import (
    BindAddress,
    Domain,
    Duration,
    FilePath,
    HttpsUrl,
    Keyword,
    Name,
    Rate,
    ReplyStart,
    SenderPattern,
    UpstreamHost,
    UserName,
    Variable,
    Wait,
)


class Timeouts(Table):
    """How long an upstream may take for each step; the defaults are those of RFC 5321 4.5.3.2."""

    connect: Wait = item("30s", "To open the connection.")
    greeting: Wait = item("5m", "From there to its 220 (RFC 5321 4.5.3.2.1).")
    hello: Wait = item("5m", "To answer EHLO or HELO.")
    auth: Wait = item("1m", "To answer AUTH, and each response of it.")
    tls: Wait = item("1m", "To answer STARTTLS, and again for the TLS handshake.")
    mail: Wait = item("5m", "To answer MAIL FROM (4.5.3.2.2).")
    rcpt: Wait = item("5m", "To answer RCPT TO (4.5.3.2.3).")
    data: Wait = item("2m", "To answer DATA with 354 (4.5.3.2.4).")
    block: Wait = item("3m", "To take a block of content (4.5.3.2.5).")
    final: Wait = item(
        "10m",
        "To answer the final dot (4.5.3.2.6). Shorter means duplicates: it may have accepted.",
    )
    quit: Wait = item("5s", "To answer QUIT, when nothing is at stake any more.")


Mechanism = Literal["SCRAM-SHA-256", "PLAIN", "LOGIN", "OAUTHBEARER", "XOAUTH2"]


def _user_key() -> Any:
    return item(
        None,
        "Whom to authenticate as (AUTH, RFC 4954), always before any mail. With it sessions are "
        "under TLS, whatever tls says, or none. Default: no AUTH.",
        "relay@example.net",
    )


def _password_file_key() -> Any:
    return item(
        None,
        "File with its password on one line; readable by the relay's user only. A change is taken "
        "up at once.",
        "/etc/relay/smarthost.password",
    )


def _password_env_key() -> Any:
    return item(
        None, "Or the environment variable that holds the password.", "RELAY_SMARTHOST_PASSWORD"
    )


def _mechanisms_key() -> Any:
    return item(
        (),
        "Mechanisms that may be used: the strongest of them that a host offers is taken. Default: "
        "any that the credentials are good for.",
        ["SCRAM-SHA-256", "PLAIN"],
    )


class OAuth(Table):
    """An access token in the place of a password (OAuth 2.0), fetched over HTTPS and renewed in
    time (optional)."""

    grant: Literal["refresh-token", "client-credentials", "service-account"] = item(
        ...,
        'How it is had. "refresh-token": for a refresh token (RFC 6749 6). "client-credentials": '
        'for client_id and its secret alone (4.4). "service-account": for a JWT that is signed '
        "here (RFC 7523, RS256), as Google's service accounts do.",
        "refresh-token",
    )
    token_url: HttpsUrl = item(
        ..., "Where tokens are given out.", "https://login.example.net/oauth2/v2.0/token"
    )
    client_id: str | None = item(
        None,
        "The client's name there; for a service account its e-mail address (iss of the JWT).",
        "b1946ac9-2492-4d23-b3f1-3f0f0a2d5c11",
        min_length=1,
        max_length=1000,
    )
    client_secret_file: FilePath | None = item(
        None,
        "File with the client's secret; readable by the relay's user only.",
        "/etc/relay/client.secret",
    )
    client_secret_env: Variable | None = item(
        None, "Or the environment variable that holds it.", "RELAY_CLIENT_SECRET"
    )
    refresh_token_file: FilePath | None = item(
        None,
        "File with the refresh token; readable by the relay's user only. Where the server gives a "
        "new one it is written there, so its folder must be writable.",
        "/var/lib/relay/refresh.token",
    )
    key_file: FilePath | None = item(
        None,
        "File with the service account's RSA key (PEM), or the JSON file that Google gives out, "
        "from which client_id is read, too; readable by the relay's user only.",
        "/etc/relay/service-account.json",
    )
    scope: str = item(
        "", "The scopes asked for, parted by spaces.", "https://mail.google.com/", max_length=4000
    )
    ca_file: FilePath | None = item(
        None,
        "File with the authorities (PEM) trusted for token_url. Default: the system's.",
        "/etc/relay/token-ca.pem",
    )
    timeout: Wait = item("20s", "How long mail waits for a token before it is delayed.")


class Identity(Table):
    """One of several identities at the upstream: the first whose tests all match the message is
    used, else that of the upstream itself. Each has sessions, limits and a lane
    ("UPSTREAM:NAME") of its own."""

    name: Name = item(..., "Its name, for lanes and the traffic log.", "billing")
    senders: tuple[SenderPattern, ...] = item(
        (), "Patterns for the reverse-path; none: any.", ["billing@example.net"]
    )
    users: tuple[UserName, ...] = item(
        (), "Users who authenticated here, or whom XCLIENT LOGIN names; none: whoever.", ["printer"]
    )
    user: UserName | None = _user_key()
    password_file: FilePath | None = _password_file_key()
    password_env: Variable | None = _password_env_key()
    mechanisms: tuple[Mechanism, ...] = _mechanisms_key()
    oauth: OAuth | None = item(None)


class Upstream(Table):
    """A server, or several equal ones, that mail is relayed to. One table for each."""

    name: Name = item(..., "Its name, for routes, the traffic log and relayctl.", "smarthost")
    hosts: tuple[UpstreamHost, ...] = item(
        ...,
        'Its hosts, tried in this order: "smtp://HOST:PORT" (port 25 where none is given), '
        '"smtps://HOST:PORT" (465; TLS from the first octet) or "lmtp://HOST:PORT" (24). ["mx:"] '
        "alone: the mail hosts of each recipient's domain, as DNS names them (RFC 5321 5.1); "
        '"mx::2525" connects to another port than 25.',
        ["smtp://127.0.0.1:2526"],
        min_length=1,
        max_length=100,
    )
    profile: Literal["none", "m365", "gmail", "gmail-relay", "ses"] = item(
        "none",
        "What is known of a provider, as defaults for the keys below: sessions, rate, recipients, "
        'mechanisms, the meaning of replies. "m365": Microsoft 365 (smtp.office365.com); "gmail": '
        'smtp.gmail.com; "gmail-relay": smtp-relay.gmail.com; "ses": Amazon SES. Each may be set '
        "all the same; relayctl check shows what comes from the profile.",
    )
    max_connections: int = item(
        20, "Sessions at a time to each host, for each identity.", ge=1, le=1000
    )
    max_connections_in_all: int = item(
        500,
        "Sessions at a time over all hosts that mx: leads to; each takes a file descriptor.",
        ge=1,
        le=100000,
    )
    max_messages_per_connection: int = item(
        0, "Messages after which a session is ended and a new one opened; 0: no limit.", ge=0
    )
    idle_timeout: Duration = item("5s", "How long an idle session is kept for the next message.")
    max_recipients: int = item(
        100,
        "Recipients in one transaction (RFC 5321 4.5.3.1.8: every server takes 100).",
        ge=1,
        le=50000,
    )
    xclient: bool = item(
        False,
        "It takes our word for who the client is (Postfix: smtpd_authorized_xclient_hosts): in "
        "proxy delivery it is told so by XCLIENT, and judges that client in our place. A host that "
        "does not offer XCLIENT then gets no proxied mail, since it would judge this relay.",
    )
    xforward: bool = item(
        False,
        "It logs who the client is (Postfix: smtpd_authorized_xforward_hosts): it is told so by "
        "XFORWARD before each message, where it offers that. Not together with xclient.",
    )
    tls: Literal["none", "opportunistic", "required", "verified", "dane", "mta-sts", "auto"] = item(
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
    honour_tls_required_no: bool = item(
        True,
        "By mx:, mail with the header field TLS-Required: No is sent even where the recipient's "
        'domain demands TLS that its hosts do not have (RFC 8689): under tls = "auto", "dane" or '
        '"mta-sts" it goes as by "opportunistic". The other values of tls hold for it, too. false: '
        "the field is ignored.",
    )
    ca_file: FilePath | None = item(
        None,
        "File with the authorities (PEM) whose certificates are trusted, or the hosts' own "
        "certificates. Default: the authorities that the system trusts.",
        "/etc/relay/ca.pem",
    )
    client_certificate: FilePath | None = item(
        None,
        "File with the certificate (PEM, with its chain) that is shown to hosts that ask for one; "
        "readable by the relay's user. Default: none.",
        "/etc/relay/client.pem",
    )
    client_key: FilePath | None = item(
        None,
        "File with its private key. Default: in the same file.",
        "/etc/relay/client.key",
    )
    user: UserName | None = _user_key()
    password_file: FilePath | None = _password_file_key()
    password_env: Variable | None = _password_env_key()
    mechanisms: tuple[Mechanism, ...] = _mechanisms_key()
    auth_without_tls: bool = item(
        False,
        "Authenticate over connections that are not encrypted, too: whoever listens can read the "
        "password.",
    )
    bind: BindAddress | None = item(
        None,
        "IP address of this machine to connect from. Default: the system's choice.",
        "192.0.2.1",
    )
    helo: Domain | None = item(
        None, "The name given in EHLO. Default: hostname.", "mail.example.net"
    )
    ignore_extensions: tuple[Keyword, ...] = item(
        (),
        "EHLO keywords that are taken as not offered, where a host offers what it cannot do: e.g. "
        '["CHUNKING"].',
    )
    max_rate: Rate | None = item(
        None,
        "Messages a second, minute, hour or day, over all hosts, for each identity, evenly and "
        "never in a burst; workers share it in equal parts. A restart earns no turn. Default: no "
        "limit.",
        "30/m",
    )
    throttle_replies: tuple[ReplyStart, ...] = item(
        (),
        "How replies begin that mean too much mail, not this message: the lane backs off as a "
        "whole, and its other messages are not tried in vain. A 5xx among them (with text: some "
        "providers say so when a day's quota is spent) fails nothing.",
        ["454 Throttling failure"],
        max_length=100,
    )
    timeouts: Timeouts = item(Timeouts())
    oauth: OAuth | None = item(None)
    identities: tuple[Identity, ...] = item((), alias="identity", max_length=1000)

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
