"""A client told of by somebody else: the XCLIENT and XFORWARD commands as Postfix documents them.

Values are xtext (RFC 3461 4). What is not known stands as "" here and as [UNAVAILABLE] there.
Reads the XCLIENT that a proxy sends us, writes both for an upstream.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from relay.mail.envelope import Origin
from relay.mail.reply import reply
from relay.mail.xtext import octets_of
from relay.smtp.grammar import MAX_HELLO_NAME, Malformed

MAX_LINE = 510
"""Octets of a command of ours without CRLF (RFC 5321 4.5.3.1.4): more attributes go in a further
one."""

MAX_VALUE = 255
"""Characters of a value (RFC 5321 4.5.3.1.2 for names), before it is encoded."""

NO_ATTRIBUTE = reply(501, "5.5.4", "Syntax: XCLIENT attribute=value ...")
UNKNOWN_ATTRIBUTE = reply(501, "5.5.4", "Unknown XCLIENT attribute")
BAD_VALUE = reply(501, "5.5.4", "Bad XCLIENT attribute value")
NOT_AUTHORISED = reply(550, "5.7.0", "Not authorised to send XCLIENT")

_UNAVAILABLE = "[UNAVAILABLE]"
_TEMPORARILY = "[TEMPUNAVAIL]"
_IPV6 = "IPV6:"

_NAME = re.compile(r"(?=.{1,255}\Z)(?:[A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{1,63}\.?")
_HELLO = re.compile(rf"[!-~]{{1,{MAX_HELLO_NAME}}}")
_LOGIN = re.compile(rf"[!-~\u00a1-\ud7ff\ue000-\U0010ffff]{{1,{MAX_VALUE}}}")
_XTEXT = re.compile(rb"(?:[!-*,-~]|\+[0-9A-F]{2})++")
_TO_ENCODE = re.compile(rb"[^!-*,-<>-~]")


# --- read -----------------------------------------------------------------------------------


def parse_xclient(argument: str) -> dict[str, str]:
    """Attribute, in upper case -> its decoded value. Raises Malformed."""
    words = argument.split()
    if not words:
        raise Malformed(NO_ATTRIBUTE)
    attributes: dict[str, str] = {}
    for word in words:
        name, separator, value = word.partition("=")
        if not separator:
            raise Malformed(NO_ATTRIBUTE)
        read = _READERS.get(name.upper())
        if read is None:
            raise Malformed(UNKNOWN_ATTRIBUTE)
        attributes[name.upper()] = read(value)
    return attributes


def _decoded(value: str) -> str:
    if not _XTEXT.fullmatch(value.encode()):
        raise Malformed(BAD_VALUE)
    try:
        return octets_of(value).decode()
    except UnicodeDecodeError:
        raise Malformed(BAD_VALUE) from None


def _read(value: str, pattern: re.Pattern[str], *unknown: str) -> str:
    word = value.upper()
    if word == _UNAVAILABLE or word in unknown:
        return ""
    text = _decoded(value)
    if not pattern.fullmatch(text):
        raise Malformed(BAD_VALUE)
    return text


def _read_name(value: str) -> str:
    return _read(value, _NAME, _TEMPORARILY)


def _read_address(value: str) -> str:
    if value.upper() == _UNAVAILABLE:
        return ""
    text = _decoded(value)
    try:
        if text[:5].upper() != _IPV6:
            return str(IPv4Address(text))
        if "%" not in text:
            return str(IPv6Address(text[5:]))
    except AddressValueError:
        pass
    raise Malformed(BAD_VALUE)


def _read_port(value: str) -> str:
    text = _read(value, re.compile(r"[0-9]{1,5}", re.ASCII))
    if text and int(text) > 65535:
        raise Malformed(BAD_VALUE)
    return text


def _read_protocol(value: str) -> str:
    return _read(value, re.compile(r"E?SMTP", re.I)).upper()


_READERS: Mapping[str, Callable[[str], str]] = {
    "NAME": _read_name,
    "ADDR": _read_address,
    "PORT": _read_port,
    "PROTO": _read_protocol,
    "HELO": lambda value: _read(value, _HELLO),
    "LOGIN": lambda value: _read(value, _LOGIN),
    "DESTADDR": _read_address,
    "DESTPORT": _read_port,
    "REVERSE_NAME": _read_name,
}

OFFER = " ".join(("XCLIENT", *_READERS))
"""Our EHLO line."""


# --- write ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Conveyed:
    """What an upstream is told of a client. `queue_id`: our name for the message, "": none yet."""

    origin: Origin
    queue_id: str = ""

    def xclient(self, listed: str) -> tuple[str, ...]:
        """The commands, those attributes that the upstream `listed` in its EHLO reply; none where
        that does not take the address, which matters most.

        The address goes last: whoever is taken for the client may say no more.
        """
        origin = self.origin
        if "ADDR" not in listed.upper().split():
            return ()
        protocol = origin.protocol if origin.protocol in ("SMTP", "ESMTP") else "ESMTP"
        return _lines(
            "XCLIENT",
            listed,
            {
                "PROTO": protocol,
                "HELO": origin.helo,
                "LOGIN": origin.user,
                "NAME": origin.name,
                "REVERSE_NAME": origin.name,
                "PORT": self._port,
                "ADDR": self._address,
            },
        )

    def xforward(self, listed: str) -> tuple[str, ...]:
        """The same of XFORWARD: for the upstream's log, of one message."""
        origin = self.origin
        return _lines(
            "XFORWARD",
            listed,
            {
                "NAME": origin.name,
                "ADDR": self._address,
                "PORT": self._port,
                "PROTO": origin.protocol,
                "HELO": origin.helo,
                "IDENT": self.queue_id,
                "SOURCE": "REMOTE" if origin.client else "LOCAL",
            },
        )

    @property
    def _address(self) -> str:
        host = self.origin.client.rpartition(":")[0].strip("[]").partition("%")[0]
        if ":" in host:
            return _IPV6 + host
        return host if host[:1].isdecimal() else ""

    @property
    def _port(self) -> str:
        port = self.origin.client.rpartition(":")[2]
        return "" if port == "0" else port


def forward(conveyed: Conveyed | None, extensions: Mapping[str, str]) -> tuple[str, ...]:
    """The XFORWARD commands for an upstream with these `extensions`; None: it is told nothing."""
    if conveyed is None or "XFORWARD" not in extensions:
        return ()
    return conveyed.xforward(extensions["XFORWARD"])


def _lines(verb: str, listed: str, values: Mapping[str, str]) -> tuple[str, ...]:
    known = frozenset(listed.upper().split())
    words = (f"{name}={_encoded(value)}" for name, value in values.items() if name in known)
    return tuple(_filled(verb, words))


def _filled(verb: str, words: Iterable[str]) -> Iterator[str]:
    """As few lines as it takes."""
    line = verb
    for word in words:
        if len(line) + 1 + len(word) > MAX_LINE:
            yield line
            line = verb
        line += f" {word}"
    if line != verb:
        yield line


def _encoded(value: str) -> str:
    """What would not fit into a line is not told."""
    octets = _TO_ENCODE.sub(lambda match: b"+%02X" % match[0][0], value.encode())
    return octets.decode() if 0 < len(octets) <= MAX_VALUE else _UNAVAILABLE
