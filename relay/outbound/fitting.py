"""Whether a message may go to a host that offers what it offers, and in which form.

Size (RFC 1870), 8-bit content (RFC 6152), internationalised mail (RFC 6531), TLS all the way (RFC
8689), and content that does not end in a line end (RFC 3030). A host that offers everything costs
a few comparisons.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from relay.mail.content import Content, InlineContent
from relay.mail.envelope import Envelope, Recipient
from relay.mail.reply import Reply, reply
from relay.mail.transcode import has_8bit_header, is_7bit, to_7bit
from relay.mail.xtext import in_ascii
from relay.smtp.offers import Offers

TOO_LARGE: Final = reply(552, "5.3.4", "message is larger than the host takes")
IS_8BIT: Final = reply(554, "5.6.3", "host takes no 8-bit content, and this cannot be converted")
NO_REQUIRETLS: Final = reply(
    550, "5.7.30", "host cannot promise TLS as this message demands (REQUIRETLS)"
)
NOT_SURE: Final = reply(
    550, "5.7.10", "no TLS with a host that is surely the right one, as this message demands"
)
IS_UTF8: Final = reply(553, "5.6.7", "host takes no internationalised mail (SMTPUTF8)")

_CHUNK: Final = 1 << 20  # for reading content through without sending it


class Fit:
    """What may go. `refusals`, by recipient id, are what the host cannot take for want of an
    extension; `envelope.recipients` are the others, none of them perhaps."""

    __slots__ = ("content", "envelope", "is_chunked", "refusals")

    def __init__(
        self,
        envelope: Envelope,
        content: Content,
        is_chunked: bool = False,
        refusals: Mapping[int, Reply] | None = None,
    ) -> None:
        self.envelope = envelope
        self.content = content
        self.is_chunked = is_chunked
        self.refusals = refusals or {}


def fit(envelope: Envelope, content: Content, host: Offers) -> Fit:
    """Raises OSError where the content cannot be read."""
    if host.max_size and content.size > host.max_size:
        return _unfit(envelope, content, TOO_LARGE)
    if envelope.requires_tls and (refusal := tls_refusal(envelope, host)) is not None:
        return _unfit(envelope, content, refusal)
    refusals: dict[int, Reply] = {}
    if host.offers_smtputf8:
        if not envelope.smtputf8 and not _is_ascii(envelope):
            envelope = replace(envelope, smtputf8=True)
    elif envelope.smtputf8 or not _is_ascii(envelope):
        if not envelope.reverse_path.isascii() or (envelope.smtputf8 and has_8bit_header(content)):
            return _unfit(envelope, content, IS_UTF8)
        envelope, refusals = _without_utf8(envelope)
    if not host.offers_8bitmime and envelope.recipients and not is_7bit(content):
        converted = to_7bit(content)
        if converted is None:
            return _unfit(envelope, content, IS_8BIT, refusals)
        content = converted
    return Fit(envelope, content, host.offers_chunking and not _ends_a_line(content), refusals)


def tls_refusal(envelope: Envelope, host: Offers) -> Reply | None:
    """Of mail that demands TLS on every way. A report of such mail does so where the host can; it
    is not to be lost where none can (RFC 8689 4.2.1, 5)."""
    if host.takes_requiretls or not envelope.reverse_path:
        return None
    return NO_REQUIRETLS if host.is_verified else NOT_SURE


def _unfit(
    envelope: Envelope, content: Content, why: Reply, refusals: Mapping[int, Reply] | None = None
) -> Fit:
    all_refused = {recipient.id: why for recipient in envelope.recipients} | dict(refusals or {})
    return Fit(replace(envelope, recipients=()), content, False, all_refused)


def _is_ascii(envelope: Envelope) -> bool:
    if not envelope.reverse_path.isascii():
        return False
    for recipient in envelope.recipients:
        if not (recipient.forward_path.isascii() and recipient.orcpt.isascii()):
            return False
    return True


def _without_utf8(envelope: Envelope) -> tuple[Envelope, dict[int, Reply]]:
    """Recipients in other than ASCII stay behind; an ORCPT of others goes in ASCII."""
    kept: list[Recipient] = []
    refusals = {}
    for recipient in envelope.recipients:
        if not recipient.forward_path.isascii():
            refusals[recipient.id] = IS_UTF8
        elif recipient.orcpt.isascii():
            kept.append(recipient)
        else:
            kept.append(replace(recipient, orcpt=in_ascii(recipient.orcpt)))
    return replace(envelope, recipients=tuple(kept), smtputf8=False), refusals


def _ends_a_line(content: Content) -> bool:
    if isinstance(content, InlineContent):
        return content.octets.endswith(b"\r\n")
    tail = b""
    for chunk in content.chunks(_CHUNK):
        tail = (tail + chunk[-2:])[-2:]
    return tail == b"\r\n"
