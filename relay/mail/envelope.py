"""The envelope of a message: reverse-path, recipients and what was asked of their delivery.

Paths are text without angle brackets, as `relay.smtp.grammar` made them: "" is the null
reverse-path, "postmaster" the domainless <postmaster> (RFC 5321 4.5.1). The RFC 3461 values are
kept as they came (xtext still encoded), so that they go on unchanged.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(slots=True, init=False, unsafe_hash=True)
class Recipient:
    """One forward-path of a message. `id` is its only identity: never its position in a list."""

    id: Final[int]
    forward_path: Final[str]
    notify: Final[str]  # RFC 3461 4.1, upper case: "", "NEVER", or e.g. "SUCCESS,FAILURE"
    orcpt: Final[str]  # RFC 3461 4.2, e.g. "rfc822;a+2Bb@example.org"

    def __init__(
        self,
        id: int,
        forward_path: str,
        notify: str = "",
        orcpt: str = "",
    ) -> None:
        self.id = id
        self.forward_path = forward_path
        self.notify = notify
        self.orcpt = orcpt

    @property
    def wants_failure(self) -> bool:
        """A DSN is owed if this recipient fails (the default, RFC 3461 4.1)."""
        return not self.notify or "FAILURE" in self.notify

    @property
    def wants_delay(self) -> bool:
        """A delay warning may be sent; without NOTIFY that is ours to choose: yes."""
        return not self.notify or "DELAY" in self.notify

    @property
    def wants_success(self) -> bool:
        """A DSN is owed when this recipient was relayed to a host without DSN."""
        return "SUCCESS" in self.notify


@dataclass(slots=True, init=False, unsafe_hash=True)
class Envelope:
    """What MAIL and RCPT said. `recipients` have distinct ids."""

    reverse_path: Final[str]
    recipients: Final[tuple[Recipient, ...]]
    body: Final[str]  # "", "7BIT" or "8BITMIME" (RFC 6152)
    smtputf8: Final[bool]  # RFC 6531
    ret: Final[str]  # "", "FULL" or "HDRS" (RFC 3461 4.3)
    envid: Final[str]  # xtext (RFC 3461 4.4)
    requires_tls: Final[bool]  # on every way to its recipients (RFC 8689)

    def __init__(
        self,
        reverse_path: str,
        recipients: tuple[Recipient, ...],
        body: str = "",
        smtputf8: bool = False,
        ret: str = "",
        envid: str = "",
        requires_tls: bool = False,
    ) -> None:
        self.reverse_path = reverse_path
        self.recipients = recipients
        self.body = body
        self.smtputf8 = smtputf8
        self.ret = ret
        self.envid = envid
        self.requires_tls = requires_tls


@dataclass(slots=True, init=False, unsafe_hash=True)
class Origin:
    """Where a message came from: enough to route it again, and to tell its story."""

    listener: Final[str]  # name of the listener; "" for mail made here (DSNs)
    client: Final[str]  # "ip:port"; "" for mail made here
    helo: Final[str]
    user: Final[str]
    session: Final[str]
    name: Final[str]  # the client's host name, where a proxy told it
    protocol: Final[str]  # "ESMTP", "SMTP"; "": not known
    tls: Final[str]  # "TLSv1.3 TLS_AES_256_GCM_SHA384"; not stored
    certificate: Final[str]  # a name in the client's verified certificate; not stored

    def __init__(
        self,
        listener: str,
        client: str,
        helo: str = "",
        user: str = "",
        session: str = "",
        name: str = "",
        protocol: str = "",
        tls: str = "",
        certificate: str = "",
    ) -> None:
        self.listener = listener
        self.client = client
        self.helo = helo
        self.user = user
        self.session = session
        self.name = name
        self.protocol = protocol
        self.tls = tls
        self.certificate = certificate

    def introduced(self, helo: str, protocol: str) -> "Origin":
        """By HELO or EHLO. Each session does so, and `dataclasses.replace` takes its time."""
        return Origin(
            self.listener,
            self.client,
            helo,
            self.user,
            self.session,
            self.name,
            protocol,
            self.tls,
            self.certificate,
        )
