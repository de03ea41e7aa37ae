"""Asks one question of the name servers, by dnspython: blocks, so it runs in a thread of a pool."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.nameserver
import dns.rcode
import dns.rdtypes.ANY.TLSA
import dns.resolver

from relay.config import SocketAddress
from relay.outbound.dns.answer import Answer, Kind, Status

UDP_PAYLOAD = 1232
"""Octets taken in one datagram (the DNS Flag Day's of 2020): below what is ever fragmented."""

TRY_WITHIN = 3.0
"""Seconds for one try at one server, before the next is asked."""

MAX_RECORDS = 100
"""Of one answer that are looked at."""

# The library refuses a whole answer for one digest of the wrong length. To us such a record is one
# that cannot be gone by, which others beside it need not suffer from (RFC 7672 2.2).
setattr(dns.rdtypes.ANY.TLSA.TLSA, "_cert_length_by_mtype", {})  # noqa: B010


class Questions:
    """`servers` empty: those of this machine. Raises nothing: trouble is an answer, too."""

    def __init__(
        self, servers: Sequence[SocketAddress], timeout: float, *, is_trusted: bool
    ) -> None:
        self._timeout = timeout
        self._is_trusted = is_trusted
        self._servers = servers
        self._resolver: dns.resolver.Resolver | None = None

    def ask(self, name: str, kind: Kind) -> Answer:
        """`name` in ASCII, without a final dot."""
        try:
            resolver = self._resolver or self._make_resolver()
            found = resolver.resolve(
                dns.name.from_text(name),
                kind.value,
                raise_on_no_answer=False,
                lifetime=self._timeout,
                search=False,
            )
        except dns.resolver.NXDOMAIN as error:
            return self._no_name(name, error)
        except (dns.name.LabelTooLong, dns.name.NameTooLong, dns.name.EmptyLabel):
            return Answer(Status.NO_NAME, name, why="no name in DNS can look like that")
        except (dns.exception.DNSException, OSError) as error:
            return Answer(Status.FAILED, name, why=_why(error))
        return self._found(found, kind)

    def _make_resolver(self) -> dns.resolver.Resolver:
        """At the first question: resolv.conf may be written after the relay was started."""
        resolver = dns.resolver.Resolver(configure=not self._servers)
        if self._servers:
            resolver.nameservers = [
                dns.nameserver.Do53Nameserver(server.host, server.port) for server in self._servers
            ]
        resolver.timeout = min(TRY_WITHIN, self._timeout)
        flags = dns.flags.DO if self._is_trusted else 0
        resolver.use_edns(0, flags, UDP_PAYLOAD)
        resolver.flags = dns.flags.RD | (dns.flags.AD if self._is_trusted else 0)
        self._resolver = resolver
        return resolver

    def _found(self, found: dns.resolver.Answer, kind: Kind) -> Answer:
        name = _text(found.canonical_name)
        is_secure, ttl = self._is_secure(found.response), _ttl(found.response)
        if found.rrset is None:
            return Answer(Status.NO_DATA, name, (), is_secure, ttl)
        read = _READERS[kind]
        records = tuple(read(record) for record in list(found.rrset)[:MAX_RECORDS])
        return Answer(Status.FOUND, name, records, is_secure, ttl)

    def _no_name(self, name: str, error: dns.resolver.NXDOMAIN) -> Answer:
        responses: Mapping[dns.name.Name, dns.message.Message] = error.kwargs["responses"]
        response = next(iter(responses.values()))
        return Answer(Status.NO_NAME, name, (), self._is_secure(response), _ttl(response))

    def _is_secure(self, response: dns.message.Message) -> bool:
        return self._is_trusted and bool(response.flags & dns.flags.AD)


def _ttl(response: dns.message.Message) -> float:
    """Of the whole chain; for nothing found that of the zone's SOA (RFC 2308 5)."""
    if not isinstance(response, dns.message.QueryMessage):
        return 0.0
    return float(response.resolve_chaining().minimum_ttl)


def _text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower().lstrip(".")


def _why(error: Exception) -> str:
    """Short: the library lists every try at every server."""
    if isinstance(error, dns.resolver.LifetimeTimeout):
        return "no name server answered in time"
    if isinstance(error, dns.resolver.NoNameservers):
        codes = {
            dns.rcode.to_text(response.rcode())
            for *_, response in error.kwargs.get("errors", ())
            if isinstance(response, dns.message.Message)
        }
        return f"the name servers answered {' '.join(sorted(codes)) or 'nothing of use'}"
    return str(error) or type(error).__name__


_READERS: Mapping[Kind, Callable[[Any], Any]] = {
    Kind.MX: lambda record: (record.preference, _text(record.exchange)),
    Kind.A: lambda record: record.address,
    Kind.AAAA: lambda record: record.address,
    Kind.TLSA: lambda record: (record.usage, record.selector, record.mtype, record.cert),
    Kind.TXT: lambda record: b"".join(record.strings),
}
