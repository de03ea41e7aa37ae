"""What an upstream's keys for its connections say together: contradictions, and doubts.

Opens no file: `relay.tls.client` looks into those that are named here.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from relay.config.schema import Settings
from relay.config.tls_checks import SUBMISSIONS

_NOT_ON_THE_INTERNET = ("localhost", "localdomain", "local", "internal", "lan", "invalid")
"""Ends of names that are nobody's domain."""

_ONLY_WITH_TLS = ("ca_file", "client_certificate", "client_key")


def upstream_contradictions(upstreams: Iterable[tuple[str, Mapping[str, Any]]]) -> Iterator[str]:
    """`upstreams`: the raw tables, each with its path."""
    for path, table in upstreams:
        if table.get("tls") == "none":
            yield from _useless_without_tls(path, table)
        if "client_key" in table and "client_certificate" not in table:
            yield f"{path}.client_key: is of no use alone; name its client_certificate too"
        yield from _unreachable(path, table)


def _useless_without_tls(path: str, table: Mapping[str, Any]) -> Iterator[str]:
    for place, host in enumerate(_hosts(table)):
        if host.startswith("smtps:"):
            yield (
                f"{path}.hosts[{place}]: {host!r} begins with TLS, which tls = 'none' forbids; "
                "write 'required' or 'verified'"
            )
    for key in _ONLY_WITH_TLS:
        if key in table:
            yield f"{path}.{key}: is of no use with tls = 'none'"


def _unreachable(path: str, table: Mapping[str, Any]) -> Iterator[str]:
    """An IPv4 address does not reach an IPv6 one, nor the other way round."""
    bind = table.get("bind")
    if not isinstance(bind, str):
        return
    for host in _hosts(table):
        address = host.partition("://")[2]
        is_v6, is_v4 = address.startswith("["), address.replace(".", "").partition(":")[0].isdigit()
        if (is_v6 and ":" not in bind) or (is_v4 and ":" in bind):
            yield f"{path}.bind: {host!r} cannot be reached from {bind}"


def _hosts(table: Mapping[str, Any]) -> list[str]:
    hosts = table.get("hosts")
    return list(map(str, hosts)) if isinstance(hosts, tuple) else []


def has_host(table: Mapping[str, Any], scheme: str) -> bool:
    """One that begins so."""
    return any(host.startswith(scheme) for host in _hosts(table))


def upstream_doubts(settings: Settings) -> Iterator[str]:
    """What is allowed and probably not meant."""
    for index, upstream in enumerate(settings.upstreams):
        for place, host in enumerate(upstream.hosts):
            if host.scheme == "smtp" and host.port == SUBMISSIONS:
                yield (
                    f"upstream[{index}].hosts[{place}]: on port 465 servers begin with TLS; write "
                    f"smtps://{host.host}"
                )
        if upstream.profile == "gmail-relay":
            yield from _unwelcome_name(f"upstream[{index}]", upstream.helo or settings.hostname)


def _unwelcome_name(path: str, name: str) -> Iterator[str]:
    """The relay service knows the customer by it, and answers 421 4.7.0 to what anyone may say."""
    labels = name.lower().strip(".").split(".")
    is_address = labels[-1].isdigit()
    if len(labels) < 2 or is_address or labels[-1] in _NOT_ON_THE_INTERNET:
        yield (
            f"{path}.helo: smtp-relay.gmail.com closes sessions whose EHLO says {name!r} "
            "(421 4.7.0); write a name in your own domain, e.g. mail.example.net"
        )
