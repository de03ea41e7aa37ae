"""The envelope of a message: reverse-path, recipients and what was asked of their delivery.

Paths are text without angle brackets, as `relay.smtp.grammar` made them: "" is the null
reverse-path, "postmaster" the domainless <postmaster> (RFC 5321 4.5.1). The RFC 3461 values are
kept as they came (xtext still encoded), so that they go on unchanged.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Recipient:
    """One forward-path of a message. `id` is its only identity: never its position in a list."""

    id: int
    forward_path: str
    notify: str = ""  # RFC 3461 4.1, upper case: "", "NEVER", or e.g. "SUCCESS,FAILURE"
    orcpt: str = ""  # RFC 3461 4.2, e.g. "rfc822;a+2Bb@example.org"

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


@dataclass(frozen=True, slots=True)
class Envelope:
    """What MAIL and RCPT said. `recipients` have distinct ids."""

    reverse_path: str
    recipients: tuple[Recipient, ...]
    body: str = ""  # "", "7BIT" or "8BITMIME" (RFC 6152)
    smtputf8: bool = False  # RFC 6531
    ret: str = ""  # "", "FULL" or "HDRS" (RFC 3461 4.3)
    envid: str = ""  # xtext (RFC 3461 4.4)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a message came from: enough to route it again, and to tell its story."""

    listener: str  # name of the listener; "" for mail made here (DSNs)
    client: str  # "ip:port"; "" for mail made here
    helo: str = ""
    user: str = ""
    session: str = ""
    name: str = ""  # the client's host name, where a proxy told it
    protocol: str = ""  # "ESMTP", "SMTP"; "": not known
    tls: str = ""  # "TLSv1.3 TLS_AES_256_GCM_SHA384"; not stored
    certificate: str = ""  # a name in the client's verified certificate; not stored
