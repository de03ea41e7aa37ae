"""What one server offers, and the MAIL and RCPT commands as it may be sent them.

The base of the client engine. Nothing that is not offered is used; whether the mail may go without
it is the caller's decision (RFC 1870, 3461, 6152, 6531, 9422).
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from relay.mail.envelope import Envelope, Recipient
from relay.smtp.extensions import parse_keywords

MAX_DIGITS: Final = 20  # of a number in an EHLO reply (RFC 1870 3)


class Offers:
    """Nothing, until an EHLO reply was read."""

    __slots__ = (
        "extensions",
        "is_verified",
        "max_recipients",
        "max_size",
        "max_transactions",
        "offers_8bitmime",
        "offers_chunking",
        "offers_dsn",
        "offers_pipelining",
        "offers_size",
        "offers_smtputf8",
        "takes_requiretls",
    )
    extensions: Mapping[str, str]  # upper-case keyword -> parameters
    is_verified: bool  # under TLS, with the certificate of a host that is surely meant
    max_size: int  # of content, in octets; 0: unknown
    max_recipients: int  # of one transaction, LIMITS RCPTMAX; 0: not told
    max_transactions: int  # of the session, LIMITS MAILMAX; 0: not told

    def __init__(self) -> None:
        self.is_verified = False
        self._set_offers((), frozenset())

    def _set_offers(self, lines: Iterable[str], ignored: frozenset[str]) -> None:
        """From the lines of an EHLO reply after its first, without the `ignored` keywords."""
        offered = parse_keywords(lines)
        for keyword in ignored:
            offered.pop(keyword, None)
        self.extensions = MappingProxyType(offered)
        self.offers_pipelining = "PIPELINING" in offered
        self.offers_8bitmime = "8BITMIME" in offered
        self.offers_smtputf8 = "SMTPUTF8" in offered
        self.offers_dsn = "DSN" in offered
        self.offers_chunking = "CHUNKING" in offered
        self.offers_size = "SIZE" in offered
        self.takes_requiretls = self.is_verified and "REQUIRETLS" in offered  # RFC 8689 4.2.1
        self.max_size = _number(offered.get("SIZE", ""))
        limits = offered.get("LIMITS", "").upper().split()
        self.max_recipients = _limit(limits, "RCPTMAX=")
        self.max_transactions = _limit(limits, "MAILMAX=")

    def mail_line(self, envelope: Envelope, size: int) -> str:
        """MAIL with what was asked for and is offered; `size` 0: unknown."""
        line = f"MAIL FROM:<{envelope.reverse_path}>"
        if size and self.offers_size:
            line += f" SIZE={size}"
        if envelope.body == "8BITMIME" and self.offers_8bitmime:
            line += " BODY=8BITMIME"
        if envelope.smtputf8 and self.offers_smtputf8:
            line += " SMTPUTF8"
        if envelope.requires_tls and self.takes_requiretls:
            line += " REQUIRETLS"
        if self.offers_dsn:
            line += f" RET={envelope.ret}" if envelope.ret else ""
            line += f" ENVID={envelope.envid}" if envelope.envid else ""
        return line

    def rcpt_line(self, recipient: Recipient) -> str:
        """RCPT with what was asked for and is offered."""
        line = f"RCPT TO:<{recipient.forward_path}>"
        if self.offers_dsn:
            line += f" NOTIFY={recipient.notify}" if recipient.notify else ""
            line += f" ORCPT={recipient.orcpt}" if recipient.orcpt else ""
        return line


def _limit(limits: Iterable[str], name: str) -> int:
    """One of the words of LIMITS; 0 where it is not among them."""
    return next((_number(word.removeprefix(name)) for word in limits if word.startswith(name)), 0)


def _number(text: str) -> int:
    """0 where the text is no number that makes sense."""
    digits = text.partition(" ")[0]
    is_number = digits.isascii() and digits.isdigit() and len(digits) <= MAX_DIGITS
    return int(digits) if is_number else 0
