"""The kinds of value a configuration is made of, read from their TOML text.

Each reader turns text into a value or raises ValueError with one line that says what to write
instead. Knows no key of the configuration and opens no file.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from os.path import normpath
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, cast

from pydantic import BeforeValidator, PlainValidator, ValidationInfo
from pydantic_core import PydanticCustomError

Network = IPv4Network | IPv6Network

MAX_DURATION = 3650 * 86400
"""Ten years: with longer ones dates and timers overflow."""

MAX_USER = 255
"""Octets of a user's name (RFC 4616 2)."""

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_OCTETS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)([smhd])")
_SIZE = re.compile(r"(\d{1,12})([KMG]?)")
_RATE = re.compile(r"(\d{1,9})/([smhd])")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LABEL = r"[A-Za-z0-9_][A-Za-z0-9_-]{0,62}"
_DOMAIN = re.compile(rf"(?=.{{1,255}}\Z)(?:{_LABEL}\.)*{_LABEL}")
_ADDRESS = re.compile(r"(\[[^\[\]]*\]|[^\[\]:]*)(?::(\d{1,5}))?")
_KEYWORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")
_HTTPS = re.compile(r"https://([^/:?#@\s]+)(?::(\d{1,5}))?(?:/[!-~]*)?")
_REPLY = re.compile(r"4\d\d(?: [ -~]{1,200})?|5\d\d [ -~]{3,200}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_UNSAFE = re.compile(r"[\x00-\x20\x7f]")
_MX = re.compile(r"mx:(?::(\d{1,5}))?")
_DEFAULT_PORTS = {"smtp": 25, "smtps": 465, "lmtp": 24, "dns": 53}


class SocketAddress(NamedTuple):
    """Where to listen. `host` is an IP address without brackets; port 0 picks a free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{_bracketed(self.host)}:{self.port}"


class SystemdAddress(NamedTuple):
    """A socket that systemd has bound: its number from 0, or its name (FileDescriptorName)."""

    place: str

    def __str__(self) -> str:
        return f"systemd:{self.place}"


@dataclass(frozen=True, slots=True)
class HostAddress:
    """One server of an upstream. `host` is a name, or an IP address without brackets; with "mx" it
    is empty: the hosts are those that each recipient's domain names."""

    scheme: Literal["smtp", "smtps", "lmtp", "mx"]
    host: str
    port: int

    def __str__(self) -> str:
        if self.scheme == "mx":
            return "mx:" if self.port == _DEFAULT_PORTS["smtp"] else f"mx::{self.port}"
        return f"{self.scheme}://{_bracketed(self.host)}:{self.port}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def duration(text: str) -> float:
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a time; write e.g. '30s', '5m', '4h' or '5d'")
    if (seconds := float(match[1]) * _SECONDS[match[2]]) > MAX_DURATION:
        raise ValueError(f"{text!r} is too long; the most is '3650d'")
    return seconds


def _wait(text: str) -> float:
    if not (seconds := duration(text)):
        raise ValueError(f"{text!r}: a wait of no time at all can never succeed; write e.g. '30s'")
    return seconds


def _duration_or_never(text: str) -> float | None:
    return None if text == "never" else _wait(text)


def size(text: str) -> int:
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a size; write e.g. '64K', '50M' or '1G'")
    return int(match[1]) * _OCTETS[match[2]]


def _rate(text: str) -> float:
    """Messages a second."""
    match = _RATE.fullmatch(text)
    if match is None or not int(match[1]):
        raise ValueError(f"{text!r} is not a rate; write e.g. '5/s', '30/m', '500/h' or '10000/d'")
    return int(match[1]) / _SECONDS[match[2]]


def _network(text: str) -> Network:
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"{text!r} is not an IP network; write e.g. 10.0.0.0/8") from None
    if "/" in text and ip_address(text.partition("/")[0]) != network.network_address:
        raise ValueError(f"{text!r} has bits set outside its prefix; write {network}")
    if network.version == 6 and network.prefixlen >= 96:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return IPv4Network((mapped, network.prefixlen - 96))
    return network


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError(f"{text!r} is not a name; use letters, digits, '.', '_' and '-'")
    return text


def _domain(text: str) -> str:
    if not _DOMAIN.fullmatch(text):
        raise ValueError(f"{text!r} is not a host name; write e.g. relay.example.net")
    return text


def _mailbox(text: str) -> str:
    local, _, host = text.rpartition("@")
    if not local or not _DOMAIN.fullmatch(host) or _UNSAFE.search(text) or set(local) & set('<>"'):
        raise ValueError(f"{text!r} is not a mail address; write e.g. admin@example.net")
    return text


def _pattern(text: str) -> str:
    """A glob over the whole address: one that can match no address at all is a mistake."""
    if not text or _UNSAFE.search(text):
        raise ValueError(f"{text!r} is not an address pattern; write e.g. '*@example.org'")
    local, at, host = text.rpartition("@")
    is_bare = not at and "*" not in text and text.lower() != "postmaster"
    if is_bare or (at and not (local and host)):
        raise ValueError(
            f"{text!r} can match no address; write e.g. '*@{host.strip('<>') or 'example.org'}'"
        )
    return text


def _url(text: str) -> str:
    """An address that secrets go to: HTTPS alone, and no name or password in it."""
    match = _HTTPS.fullmatch(text)
    if match is None or not _DOMAIN.fullmatch(match[1]):
        raise ValueError(f"{text!r} is not an https:// URL; write e.g. https://HOST/token")
    if match[2] is not None and not 0 < int(match[2]) < 65536:
        raise ValueError(f"{text!r}: port {match[2]} is out of range; ports are 1 to 65535")
    return text


def _reply_start(text: str) -> str:
    if not _REPLY.fullmatch(text):
        raise ValueError(
            f"{text!r} is not how a 4xx reply begins, nor a 5xx one with its text; write e.g. "
            "'451 4.7.0 Too many'"
        )
    return text


def _variable(text: str) -> str:
    if not _VARIABLE.fullmatch(text):
        raise ValueError(f"{text!r} is not the name of an environment variable")
    return text


def _user(text: str) -> str:
    if not text or len(text.encode()) > MAX_USER or not text.isprintable():
        raise ValueError(f"{text!r} is not a user name of 1 to {MAX_USER} printable octets")
    return text


def _python_name(text: str) -> str:
    module, _, attribute = text.partition(":")
    if not (attribute.isidentifier() and all(map(str.isidentifier, module.split(".")))):
        raise ValueError(f"{text!r} names nothing in Python; write e.g. 'package.module:factory'")
    return text


def sender_pattern(text: str) -> str:
    return text if text == "<>" else _pattern(text)


def _certificate_pattern(text: str) -> str:
    if not text or _UNSAFE.search(text):
        raise ValueError(
            f"{text!r} is not a pattern for names in certificates; write e.g. '*.lan.example.net'"
        )
    return text


def _split_address(text: str) -> tuple[str, int | None]:
    """ "host", "host:port", "[v6]" or "[v6]:port" → host without brackets, port."""
    match = _ADDRESS.fullmatch(text)
    if match is None or not match[1].strip("[]"):
        raise ValueError(f"{text!r} is not an address; an IPv6 address stands in [brackets]")
    host, port = match[1], None if match[2] is None else int(match[2])
    if port is not None and port > 65535:
        raise ValueError(f"{text!r}: port {port} is out of range; ports are 0 to 65535")
    if host.startswith("["):
        host = str(_ip_address(host[1:-1], text))
    return host, port


def _ip_address(host: str, text: str) -> IPv4Address | IPv6Address:
    try:
        return ip_address(host)
    except ValueError:
        raise ValueError(f"{text!r}: {host!r} is not an IP address") from None


def _socket_address(text: str) -> SocketAddress:
    host, port = _split_address(text)
    if port is None:
        raise ValueError(f"{text!r} names no port; write e.g. '127.0.0.1:2525' or '[::]:25'")
    return SocketAddress(str(_ip_address(host, text)), port)


def _listener_address(text: str) -> SocketAddress | SystemdAddress:
    scheme, colon, place = text.partition(":")
    if scheme != "systemd" or not colon:
        return _socket_address(text)
    if not _NAME.fullmatch(place):
        raise ValueError(
            f"{text!r} names no socket; write e.g. 'systemd:0' or 'systemd:NAME' (its"
            " FileDescriptorName)"
        )
    return SystemdAddress(place)


def _host_address(text: str) -> HostAddress:
    if text.startswith("mx:"):
        return _mx(text)
    scheme, separator, rest = text.partition("://")
    if not separator or scheme not in ("smtp", "smtps", "lmtp"):
        raise ValueError(f"{text!r} is not an upstream host; write e.g. smtp://mail.example.net:25")
    host, port = _split_address(rest)
    if port == 0 or not (":" in host or _DOMAIN.fullmatch(host)):
        raise ValueError(f"{text!r} is not an upstream host; write e.g. smtp://mail.example.net:25")
    known = cast(Literal["smtp", "smtps", "lmtp"], scheme)
    return HostAddress(known, host, _DEFAULT_PORTS[scheme] if port is None else port)


def _mx(text: str) -> HostAddress:
    match = _MX.fullmatch(text)
    if match is None:
        raise ValueError(
            f"{text!r}: write 'mx:' alone, the domain is the recipient's own ('mx::2525': at a port"
            " other than 25)"
        )
    port = _DEFAULT_PORTS["smtp"] if match[1] is None else int(match[1])
    if not 0 < port < 65536:
        raise ValueError(f"{text!r}: port {port} is out of range; ports are 1 to 65535")
    return HostAddress("mx", "", port)


def _dns_server(text: str) -> SocketAddress:
    host, port = _split_address(text)
    if port == 0:
        raise ValueError(f"{text!r}: port 0 is no server's; DNS servers have 53")
    known = _DEFAULT_PORTS["dns"] if port is None else port
    return SocketAddress(str(_ip_address(host, text)), known)


def _keyword(text: str) -> str:
    if not _KEYWORD.fullmatch(text):
        raise ValueError(f"{text!r} is not an EHLO keyword; write e.g. 'CHUNKING'")
    return text.upper()


def _bind_address(text: str) -> str:
    try:
        return str(ip_address(text.strip("[]")))
    except ValueError:
        raise ValueError(f"{text!r} is not an IP address; write e.g. '192.0.2.1'") from None


def _path(text: str, folder: Path) -> Path:
    if not text or "\0" in text:
        raise ValueError(f"{text!r} is not a file name")
    return Path(normpath(folder / text))


def _log_file(text: str, folder: Path) -> Path | Literal["-"]:
    return "-" if text == "-" else _path(text, folder)


def _store(text: str, folder: Path) -> str:
    if text == "memory:":
        return text
    scheme, _, place = text.partition(":")
    if scheme == "postgresql":
        raise ValueError("a queue in PostgreSQL is not available in this version; use 'sqlite:DIR'")
    if scheme != "sqlite" or not place:
        raise ValueError(f"{text!r} is not a queue store; write e.g. 'sqlite:/var/spool/relay'")
    return f"sqlite:{_path(place, folder)}"


def _delivery(text: str) -> str:
    if text not in ("store", "hybrid", "proxy"):
        raise ValueError(f"{text!r} is not a delivery; write 'store', 'hybrid' or 'proxy'")
    return text


def _workers(text: str) -> int:
    if text != "auto":
        raise ValueError(f"{text!r} is no number of workers; write e.g. 2 or 'auto'")
    return max(1, len(os.sched_getaffinity(0)))


def _read(reader: Callable[..., Any], *, numbers: bool = False, in_folder: bool = False) -> Any:
    """A validator: text is read; values made by Python code (no context) pass as they are."""

    def validate(value: object, info: ValidationInfo) -> Any:
        if not isinstance(value, str):
            if info.context is None or (numbers and type(value) is int and value >= 0):
                return value
            raise PydanticCustomError("string_type", "must be text in quotes")
        return (
            reader(value, (info.context or {}).get("folder", Path()))
            if in_folder
            else reader(value)
        )

    # A number's bounds (ge, le) are checked after a reader that stands before it.
    return BeforeValidator(validate) if numbers else PlainValidator(validate)


Duration = Annotated[float, _read(duration)]
Wait = Annotated[float, _read(_wait)]
DurationOrNever = Annotated[float | None, _read(_duration_or_never)]
Size = Annotated[int, _read(size, numbers=True)]
Rate = Annotated[float, _read(_rate)]
IPNetwork = Annotated[Network, _read(_network)]
Name = Annotated[str, _read(_name)]
Domain = Annotated[str, _read(_domain)]
Mailbox = Annotated[str, _read(_mailbox)]
Pattern = Annotated[str, _read(_pattern)]
PythonName = Annotated[str, _read(_python_name)]
HttpsUrl = Annotated[str, _read(_url)]
ReplyStart = Annotated[str, _read(_reply_start)]
Variable = Annotated[str, _read(_variable)]
UserName = Annotated[str, _read(_user)]
SenderPattern = Annotated[str, _read(sender_pattern)]
CertificatePattern = Annotated[str, _read(_certificate_pattern)]
ListenAddress = Annotated[SocketAddress, _read(_socket_address)]
ListenerAddress = Annotated[SocketAddress | SystemdAddress, _read(_listener_address)]
DnsServer = Annotated[SocketAddress, _read(_dns_server)]
UpstreamHost = Annotated[HostAddress, _read(_host_address)]
BindAddress = Annotated[str, _read(_bind_address)]
Keyword = Annotated[str, _read(_keyword)]
FilePath = Annotated[Path, _read(_path, in_folder=True)]
LogFile = Annotated[Path | Literal["-"], _read(_log_file, in_folder=True)]
StoreUrl = Annotated[str, _read(_store, in_folder=True)]
Workers = Annotated[int, _read(_workers, numbers=True)]
Delivery = Annotated[Literal["store", "hybrid", "proxy"], _read(_delivery)]
