"""Writes DSNs: what became of a message, for its sender and for the sender's software.

A multipart/report (RFC 6522) of words for people, message/delivery-status (RFC 3464) and what of
the message goes back. Non-ASCII addresses are written as RFC 6533 has it for seven bits. Nothing
that a reply, an address or the original holds can break out of its place.
"""

import re
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from relay.mail.content import Content
from relay.mail.dsn_return import returned
from relay.mail.encoding import quoted_printable
from relay.mail.header import Header
from relay.mail.reply import Reply
from relay.mail.trace import date_of
from relay.mail.xtext import from_xtext, in_ascii, utf8_xtext

NOT_YET = Reply(451, "4.0.0", ("not delivered yet",))
"""For a delay warning that has no reply of a host to tell."""

MAX_TEXT = 800
"""Octets kept of a reply or an address: with its name it still fits in a line of 998 octets,
should it have no place for a fold (RFC 5322 2.1.1)."""

SUBJECTS = {
    "failed": "Your message could not be delivered",
    "delayed": "Your message is delayed, it is still being tried",
    "relayed": "Your message was passed on",
}

_STATUS = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}")
_STATUS_BY_ACTION = {"failed": "5.0.0", "delayed": "4.0.0", "relayed": "2.0.0"}
_NOT_IN_ID = re.compile(r"[^A-Za-z0-9.-]")
_MESSAGE_ID = re.compile(r"<[!-;=?-~]{1,250}>")


@dataclass(frozen=True, slots=True)
class ReportedRecipient:
    """What became of one recipient. `host` as "name[ip]:port"; "": the reply is our own."""

    forward_path: str
    action: str  # failed, delayed, relayed (RFC 3464 2.3.3)
    reply: Reply
    host: str = ""
    orcpt: str = ""  # as in the envelope
    last_attempt_at: float | None = None
    will_retry_until: float | None = None

    @property
    def status(self) -> str:
        given = self.reply.status
        if _STATUS.fullmatch(given):
            return given
        by_code = f"{self.reply.code // 100}.0.0"
        return by_code if _STATUS.fullmatch(by_code) else _STATUS_BY_ACTION[self.action]

    @property
    def is_expired(self) -> bool:
        """Failed for transient reasons: time ran out (RFC 3463 3.5, 4.4.7)."""
        return self.action == "failed" and self.status.startswith("4")


@dataclass(frozen=True, slots=True)
class Report:
    """All that one DSN tells. `reverse_path` is who is told; times are unix seconds."""

    kind: str  # failed, delayed, relayed
    hostname: str
    reverse_path: str
    accepted_at: float
    made_at: float
    dsn_queue_id: str
    original_queue_id: str
    recipients: tuple[ReportedRecipient, ...]
    original: Content
    envid: str = ""  # xtext, as in the envelope
    ret: str = ""  # as in the envelope
    smtputf8: bool = False  # the original was sent with it


def compose(report: Report) -> bytes:
    """The content of the DSN.

    8-bit only where the returned message is (then BODY=8BITMIME is needed); its own header only
    where the addressee's path is (then SMTPUTF8 is).
    """
    whole = report.kind == "failed" and report.ret != "HDRS"
    back = returned(
        report.original, whole, report.smtputf8, has_utf8_path=not report.reverse_path.isascii()
    )
    parts = [_words_part(report, back.words), _status_part(report)]
    if back.part:
        parts.append(back.part)
    boundary = _boundary(report, parts)
    delimiter = b"\r\n--" + boundary.encode()
    is_7bit = all(part.isascii() for part in parts)
    pieces = [_header(report, boundary, is_7bit), b"This is a report in MIME format."]
    for part in parts:
        pieces += (delimiter, b"\r\n", part)
    pieces += (delimiter, b"--\r\n")
    return b"".join(pieces)


# --- the header -----------------------------------------------------------------------------


def _header(report: Report, boundary: str, is_7bit: bool) -> bytes:
    hostname = _one_line(report.hostname)
    content_type = f'multipart/report; report-type=delivery-status;\r\n\tboundary="{boundary}"'
    message_id = f"<{_safe_id(report.dsn_queue_id)}.{int(report.made_at)}@{hostname}>"
    lines = [
        f"From: Mail Delivery System <MAILER-DAEMON@{hostname}>",
        f"To: <{_one_line(report.reverse_path)}>",
        f"Subject: {SUBJECTS[report.kind]}",
        f"Date: {date_of(int(report.made_at))}",
        f"Message-ID: {message_id}",
        *_thread(report.original),
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
        f"Content-Type: {content_type}",
        *([] if is_7bit else ["Content-Transfer-Encoding: 8bit"]),  # as its parts (RFC 2045 6.4)
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def _thread(original: Content) -> Iterator[str]:
    """So that mail programs show the report beside the message."""
    try:
        message_id = Header(next(iter(original.chunks()), b"")).value(b"message-id")
    except OSError:
        return
    if _MESSAGE_ID.fullmatch(message_id):
        yield f"In-Reply-To: {message_id}"
        yield f"References: {message_id}"


def _boundary(report: Report, parts: Iterable[bytes]) -> str:
    """ "=_" cannot stand in quoted-printable or base64; against all else it is tried."""
    number = 0
    while True:
        boundary = f"=_{_safe_id(report.dsn_queue_id)}_{number}"
        if not any(boundary.encode() in part for part in parts):
            return boundary
        number += 1


# --- for people -----------------------------------------------------------------------------


def _words_part(report: Report, what_goes_back: str) -> bytes:
    text = "\r\n".join(_words(report, what_goes_back)).encode()
    charset, encoding = b"us-ascii", b"7bit"
    if not text.isascii():
        charset, encoding, text = b"utf-8", b"quoted-printable", quoted_printable(text)
    return (
        b"Content-Type: text/plain; charset=%b\r\n"
        b"Content-Description: Explanation\r\n"
        b"Content-Transfer-Encoding: %b\r\n\r\n%b"
    ) % (charset, encoding, text)


def _words(report: Report, what_goes_back: str) -> Iterator[str]:
    """Lines without their ends."""
    yield f"This is the mail system at {_one_line(report.hostname)}."
    yield ""
    for action, tell in _STORIES.items():
        recipients = [r for r in report.recipients if r.action == action]
        if recipients:
            yield from tell(report, recipients)
            yield ""
    log_words = f"In this mail system's log your message is {_one_line(report.original_queue_id)}."
    attached = "technical details for mail software"
    if what_goes_back:
        attached += f", and {what_goes_back}"
    yield from _wrap(f"{log_words} Attached are {attached}.")


def _failed(report: Report, recipients: list[ReportedRecipient]) -> Iterator[str]:
    when = date_of(int(report.accepted_at))
    yield from _wrap(f"Your message of {when} could not be delivered to:")
    yield from _entries(recipients)
    yield ""
    if any(r.is_expired for r in recipients):
        tried = _duration(report.made_at - report.accepted_at)
        yield from _wrap(f"It was tried for {tried}, and will not be tried again.")
    else:
        yield "It will not be tried again."
    yield ""
    yield from _wrap(
        "What you can do: see whether the address is right, and what the answer above says. If"
        " that does not help, reach the recipient in another way, or show this whole report to"
        " the people who look after your mail."
    )


def _delayed(report: Report, recipients: list[ReportedRecipient]) -> Iterator[str]:
    when = date_of(int(report.accepted_at))
    yield from _wrap(f"Your message of {when} could not be delivered yet to:")
    yield from _entries(recipients)
    yield ""
    until = max((r.will_retry_until or 0 for r in recipients), default=0)
    limit = f", until {date_of(int(until))} if need be" if until else ""
    yield from _wrap(
        f"It is still being tried{limit}. You need not do anything, nor send it again. If it"
        " fails for good, you will be told."
    )


def _relayed(report: Report, recipients: list[ReportedRecipient]) -> Iterator[str]:
    when = date_of(int(report.accepted_at))
    yield from _wrap(
        f"Your message of {when} was passed on for the recipients below, to a mail system that"
        " does not confirm delivery. You will hear more only if something goes wrong there."
    )
    yield from _entries(recipients)


_STORIES = {"failed": _failed, "delayed": _delayed, "relayed": _relayed}


def _entries(recipients: list[ReportedRecipient]) -> Iterator[str]:
    for recipient in recipients:
        yield ""
        yield f"  <{_one_line(recipient.forward_path)}>"
        if recipient.host:
            yield from _wrap(f"at {_one_line(recipient.host)}:", "    ")
        if recipient.reply != NOT_YET:
            yield from _wrap(_one_line(str(recipient.reply)), "    ")


def _duration(seconds: float) -> str:
    for name, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        count = int(seconds // length)
        if count:
            return f"{count} {name}{'s' * (count > 1)}"
    return "less than a minute"


def _wrap(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(
        text, 74, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )


# --- for software ---------------------------------------------------------------------------


def _status_part(report: Report) -> bytes:
    groups = ["".join(_message_fields(report))]
    groups += ["".join(_recipient_fields(recipient)) for recipient in report.recipients]
    head = b"Content-Type: message/delivery-status\r\nContent-Description: Delivery report\r\n\r\n"
    return head + "\r\n".join(groups).encode("ascii")


def _message_fields(report: Report) -> Iterator[str]:
    """RFC 3464 2.2."""
    yield _field("Reporting-MTA", f"dns; {report.hostname}")
    yield _field("X-Relay-Queue-ID", report.original_queue_id)
    if report.envid:
        yield _field("Original-Envelope-Id", from_xtext(report.envid))
    yield _field("Arrival-Date", date_of(int(report.accepted_at)))


def _recipient_fields(recipient: ReportedRecipient) -> Iterator[str]:
    """RFC 3464 2.3."""
    if recipient.orcpt:
        yield _field("Original-Recipient", _original_recipient(recipient.orcpt))
    yield _field("Final-Recipient", _typed_address(recipient.forward_path))
    yield _field("Action", recipient.action)
    yield _field("Status", recipient.status)
    text = str(recipient.reply)
    if recipient.host:
        yield _field("Remote-MTA", f"dns; {_host_name(recipient.host)}")
        yield _field("Diagnostic-Code", f"smtp; {text}")
    elif recipient.reply != NOT_YET:
        yield _field("Diagnostic-Code", f"x-relay; {text}")
    if recipient.last_attempt_at is not None:
        yield _field("Last-Attempt-Date", date_of(int(recipient.last_attempt_at)))
    if recipient.will_retry_until is not None and recipient.action == "delayed":
        yield _field("Will-Retry-Until", date_of(int(recipient.will_retry_until)))


def _field(name: str, value: str) -> str:
    """One ASCII field, folded at spaces where that makes it fit in 78."""
    text = _one_line(value).encode("ascii", "backslashreplace").decode()[:MAX_TEXT]
    lines = textwrap.wrap(f"{name}: {text}", 77, break_long_words=False, break_on_hyphens=False)
    return "\r\n ".join(lines) + "\r\n"


def _typed_address(path: str) -> str:
    """The part is of seven bits."""
    return f"rfc822; {path}" if path.isascii() else f"utf-8; {utf8_xtext(path)}"


def _original_recipient(orcpt: str) -> str:
    """Whatever the type, what MAIL said was xtext (RFC 3461 4.2); that of utf-8 has its own."""
    kind, _, address = orcpt.partition(";")
    return f"{kind}; {in_ascii(address) if kind.lower() == 'utf-8' else from_xtext(address)}"


def _host_name(host: str) -> str:
    """The name of "name[ip]:port", or the address literal where there is none."""
    name, _, rest = host.partition("[")
    ip = rest.partition("]")[0]
    if name and name != ip:
        return name
    return f"[IPv6:{ip}]" if ":" in ip else f"[{ip}]"


def _safe_id(queue_id: str) -> str:
    return _NOT_IN_ID.sub("", queue_id)[:40]


def _one_line(text: str) -> str:
    """Bounded, and nothing in it but printable characters and spaces."""
    text = text.encode("utf-8", "replace")[:MAX_TEXT].decode("utf-8", "ignore")
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)
