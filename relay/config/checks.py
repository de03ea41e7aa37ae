"""What the keys of a configuration say together: contradictions, and doubts worth a warning.

Contradictions are looked for in the raw tables, so that they are told together with the mistakes
inside single values; whatever has the wrong type is passed over here, since that is told anyway.
"""

from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from typing import Any

from relay.config.auth_checks import auth_contradictions, auth_doubts
from relay.config.schema import Queue, Route, Settings
from relay.config.tls_checks import tls_contradictions, tls_doubts
from relay.config.upstream_checks import has_host, upstream_contradictions, upstream_doubts
from relay.config.values import Network, duration

Raw = Mapping[str, Any]

_WIDE = {4: 24, 6: 48}
"""Public networks with a shorter prefix than these rarely belong to one owner alone."""

_LEAST = {"max_recipients": 100, "max_message_size": 64 << 10}


def contradictions(raw: Raw) -> list[str]:
    """Keys that cannot stand together, each with its path. `raw`: TOML with lists as tuples."""
    return [
        *_names_used_twice(raw, "listener"),
        *_names_used_twice(raw, "upstream"),
        *_addresses_used_twice(raw),
        *_no_listener(raw),
        *_routes_to_nowhere(raw),
        *_warning_after_expiry(raw),
        *_proxied_lmtp(raw),
        *_told_twice(raw),
        *_told_to_strangers(raw),
        *_mx_beside_others(raw),
        *_proxied_mx(raw),
        *_looked_up_tls(raw),
        *_nobody_to_believe(raw),
        *_workers_in_memory(raw),
        *_auth_without_users(raw),
        *_auth_in_plain_text(raw),
        *tls_contradictions(_tables(raw, "listener")),
        *upstream_contradictions(_tables(raw, "upstream")),
        *auth_contradictions(_tables(raw, "upstream")),
    ]


def doubts(settings: Settings) -> list[str]:
    """What is allowed and probably not meant."""
    return [
        *_short_hostname(settings),
        *_volatile_queue(settings),
        *_open_relay(settings),
        *_believed_too_widely(settings),
        *_never_told(settings),
        *_narrow_limits(settings),
        *tls_doubts(settings),
        *upstream_doubts(settings),
        *auth_doubts(settings),
        *_lost_reports(settings),
        *_no_postmaster(settings),
        *_idle_parts(settings),
        *_circles(settings),
        *_unguarded_trust(settings),
        *_readable_passwords(settings),
        *_nothing_recorded(settings),
    ]


def _tables(raw: Raw, key: str) -> Iterator[tuple[str, Raw]]:
    tables = raw.get(key)
    for index, table in enumerate(tables if isinstance(tables, tuple) else ()):
        if isinstance(table, dict):
            yield f"{key}[{index}]", table


def _used_twice(raw: Raw, key: str, attribute: str) -> Iterator[tuple[str, str, str]]:
    first: dict[str, str] = {}
    for path, table in _tables(raw, key):
        value = table.get(attribute)
        if isinstance(value, str) and first.setdefault(value, path) != path:
            yield f"{path}.{attribute}", value, first[value]


def _names_used_twice(raw: Raw, key: str) -> Iterator[str]:
    for path, name, first in _used_twice(raw, key, "name"):
        yield f"{path}: {name!r} is the name of {first} too; give each {key} its own"


def _addresses_used_twice(raw: Raw) -> Iterator[str]:
    for path, address, first in _used_twice(raw, "listener", "address"):
        if not address.endswith(":0") or address.startswith("systemd:"):
            yield f"{path}: {first} listens on {address!r} too; use another port or one listener"


def _no_listener(raw: Raw) -> Iterator[str]:
    if raw.get("listener") == ():
        yield "listener: there is none, so nothing would be relayed; add [[listener]]"


def _names(raw: Raw, key: str) -> set[str]:
    names = {str(table["name"]) for _, table in _tables(raw, key) if "name" in table}
    return {name for name in names if name.isprintable()}  # the others are told as mistakes


def _routes_to_nowhere(raw: Raw) -> Iterator[str]:
    known = {"upstream": _names(raw, "upstream"), "listener": _names(raw, "listener")}
    for path, route in _tables(raw, "route"):
        upstream, listeners = route.get("upstream"), route.get("listeners")
        if isinstance(upstream, str) and upstream not in known["upstream"]:
            yield _unknown(f"{path}.upstream", upstream, "upstream", known["upstream"])
        for index, name in enumerate(listeners if isinstance(listeners, tuple) else ()):
            if isinstance(name, str) and name not in known["listener"]:
                yield _unknown(f"{path}.listeners[{index}]", name, "listener", known["listener"])


def _unknown(path: str, name: str, kind: str, known: set[str]) -> str:
    shown = (each if each.isprintable() else ascii(each) for each in sorted(known))
    there = f"there are: {', '.join(shown)}" if known else f"add [[{kind}]]"
    return f"{path}: there is no {kind} named {name!r}; {there}"


def _warning_after_expiry(raw: Raw) -> Iterator[str]:
    queue = raw.get("queue")
    if not isinstance(queue, dict):
        return
    try:
        warn_text, expire_text = (
            queue.get(key, Queue.model_fields[key].default)
            for key in ("warn_after", "expire_after")
        )
        is_late = warn_text != "never" and duration(warn_text) >= duration(expire_text)
    except (TypeError, ValueError):
        return
    if is_late:
        yield (
            f"queue.warn_after: {warn_text!r} is not before expire_after ({expire_text!r}), so "
            'nobody would be warned; shorten it or write "never"'
        )


def _proxied_lmtp(raw: Raw) -> Iterator[str]:
    """LMTP answers for each recipient after the content; an SMTP client hears one reply."""
    lmtp = _upstreams_with(raw, "lmtp:")
    for path, route in _tables(raw, "route"):
        if route.get("delivery") == "proxy" and str(route.get("upstream")) in lmtp:
            yield f"{path}.delivery: 'proxy' cannot go to lmtp:// hosts; write 'store' or 'hybrid'"


def _told_twice(raw: Raw) -> Iterator[str]:
    """After XCLIENT the upstream takes the client for the peer, whose XFORWARD it must refuse."""
    for path, table in _tables(raw, "upstream"):
        if table.get("xclient") is True and table.get("xforward") is True:
            yield (
                f"{path}.xforward: XCLIENT tells the upstream all of it already; write one of "
                "xclient and xforward"
            )


def _told_to_strangers(raw: Raw) -> Iterator[str]:
    """Nobody's mail host believes us; and who our clients are is no business of theirs."""
    for path, table in _tables(raw, "upstream"):
        for key in ("xclient", "xforward"):
            if table.get(key) is True and has_host(table, "mx:"):
                yield f'{path}.{key}: "mx:" leads to hosts of others; leave {key} out'


def _mx_beside_others(raw: Raw) -> Iterator[str]:
    for path, table in _tables(raw, "upstream"):
        if has_host(table, "mx:") and len(table["hosts"]) > 1:
            yield (
                f'{path}.hosts: "mx:" stands alone; give other hosts an [[upstream]] of their own'
            )


def _proxied_mx(raw: Raw) -> Iterator[str]:
    """In proxy MAIL is passed on before the recipient's domain is known."""
    by_domain = _upstreams_with(raw, "mx:")
    for path, route in _tables(raw, "route"):
        if route.get("delivery") == "proxy" and str(route.get("upstream")) in by_domain:
            yield f"{path}.delivery: 'proxy' cannot go to \"mx:\"; write 'store' or 'hybrid'"


def _looked_up_tls(raw: Raw) -> Iterator[str]:
    dns = raw.get("dns")
    is_trusted = isinstance(dns, dict) and dns.get("trusted") is True
    for path, table in _tables(raw, "upstream"):
        tls = table.get("tls")
        if tls not in ("dane", "mta-sts") or not isinstance(table.get("hosts"), tuple):
            continue
        if not has_host(table, "mx:"):
            yield f"{path}.tls: {tls!r} is for \"mx:\" alone; write 'verified' for named hosts"
        elif tls == "dane" and not is_trusted:
            yield f"{path}.tls: 'dane' needs a resolver that is believed; set dns.trusted = true"


def _nobody_to_believe(raw: Raw) -> Iterator[str]:
    """RFC 7672 2.2: whoever /etc/resolv.conf names today is not a resolver that one chose."""
    dns = raw.get("dns")
    if isinstance(dns, dict) and dns.get("trusted") is True and not dns.get("servers"):
        yield (
            "dns.trusted: no resolver is named whose word is believed; add servers = "
            '["127.0.0.1"], or wherever the validating resolver of this machine listens'
        )


def _upstreams_with(raw: Raw, scheme: str) -> set[str]:
    """The names of those that have such a host."""
    tables = _tables(raw, "upstream")
    return {str(table.get("name")) for _, table in tables if has_host(table, scheme)}


def _workers_in_memory(raw: Raw) -> Iterator[str]:
    queue = raw.get("queue")
    is_in_memory = isinstance(queue, dict) and queue.get("store") == "memory:"
    if is_in_memory and raw.get("workers", 1) != 1:
        yield 'workers: a "memory:" queue is one process\'s; write workers = 1 or a "sqlite:" store'


def _auth_without_users(raw: Raw) -> Iterator[str]:
    auth = raw.get("auth")
    if isinstance(auth, dict) and ("users" in auth) == ("checker" in auth):
        if "users" in auth:
            yield "auth: has both users and checker; write one of them"
        else:
            yield 'auth: does not say who the users are; write e.g. users = "/etc/relay/users"'
    for path, listener in _tables(raw, "listener"):
        wants = listener.get("auth", "none")
        if wants in ("offered", "required") and auth is None:
            yield f'{path}.auth: {wants!r} needs to know the users; add [auth] with users = "FILE"'


def _auth_in_plain_text(raw: Raw) -> Iterator[str]:
    for path, listener in _tables(raw, "listener"):
        is_encrypted = listener.get("tls", "none") != "none"
        if (
            listener.get("auth", "none") in ("offered", "required")
            and not is_encrypted
            and listener.get("auth_without_tls", False) is False
        ):
            yield (
                f"{path}.auth: without TLS no password is taken, so nobody could authenticate; "
                "set tls, or auth_without_tls = true on a network where nobody listens"
            )


def _short_hostname(settings: Settings) -> Iterator[str]:
    if "." not in settings.hostname.strip("."):
        yield (
            f"hostname: {settings.hostname!r} is not fully qualified; many servers refuse such a "
            "name in EHLO; write e.g. relay.example.net"
        )


def _volatile_queue(settings: Settings) -> Iterator[str]:
    if settings.queue.store == "memory:":
        yield 'queue.store: "memory:" loses mail at every stop; write e.g. "sqlite:/var/spool"'


def _open_relay(settings: Settings) -> Iterator[str]:
    for index, listener in enumerate(settings.listeners):
        for place, network in enumerate(listener.relay_networks):
            if why := _too_wide(network):
                yield f"listener[{index}].relay_networks[{place}]: {network} {why}"
        for place, pattern in enumerate(listener.accept_recipients):
            if not pattern.rpartition("@")[2].strip("*"):
                yield (
                    f"listener[{index}].accept_recipients[{place}]: {pattern!r} lets anyone send "
                    "to anyone: an open relay; write your own domains"
                )


def _too_wide(network: Network) -> str:
    if network.prefixlen == 0:
        return "lets the whole world send to anyone: an open relay; give your own networks"
    if network.prefixlen < _WIDE[network.version] and not network.is_private:
        return "is wide and public: every machine in it may send to anyone; give your own networks"
    return ""


def _believed_too_widely(settings: Settings) -> Iterator[str]:
    for index, listener in enumerate(settings.listeners):
        for key in ("proxy_protocol_from", "xclient_from"):
            for place, network in enumerate(getattr(listener, key)):
                if _too_wide(network):
                    yield (
                        f"listener[{index}].{key}[{place}]: every machine in {network} may pretend "
                        "to be any client; name your proxies alone"
                    )


def _never_told(settings: Settings) -> Iterator[str]:
    proxied = {route.upstream for route in settings.routes if route.is_proxied}
    for index, upstream in enumerate(settings.upstreams):
        if upstream.xclient and upstream.name not in proxied:
            yield (
                f"upstream[{index}].xclient: XCLIENT is sent in proxy delivery only, and no such "
                f"route leads to {upstream.name!r}; write xforward, or delivery = 'proxy'"
            )


def _narrow_limits(settings: Settings) -> Iterator[str]:
    for index, listener in enumerate(settings.listeners):
        for key, least in _LEAST.items():
            if (value := getattr(listener, key)) < least:
                yield (
                    f"listener[{index}].{key}: {value} is less than the {least} that clients may "
                    "count on (RFC 5321 4.5.3.1)"
                )


def _takes_everything(route: Route) -> bool:
    """Every recipient whatever its sender, if only the listener is right."""
    return (not route.recipients or "*" in route.recipients) and (
        not route.senders or "*" in route.senders
    )


def _lost_reports(settings: Settings) -> Iterator[str]:
    """DSNs are routed by recipient whatever the listener: only a route for all takes them all."""
    may_take = (
        (not route.recipients or "*" in route.recipients)
        and (not route.senders or "*" in route.senders or "<>" in route.senders)
        for route in settings.routes
    )
    if settings.postmaster is None and not any(may_take):
        yield (
            "postmaster: is not set, and no route takes reports to every sender: reports that no "
            "route takes stay in the queue; set postmaster or add a route for all recipients"
        )


def _no_postmaster(settings: Settings) -> Iterator[str]:
    for index, listener in enumerate(settings.listeners):
        if listener.accept_recipients and settings.postmaster is None:
            yield (
                f"listener[{index}].accept_recipients: mail from anybody is taken, and "
                "<postmaster> is refused, which every mail server has (RFC 5321 4.5.1); set "
                'postmaster, and add "postmaster" here'
            )


def _idle_parts(settings: Settings) -> Iterator[str]:
    if not settings.routes:
        yield "route: there is none: every recipient is refused with 550 5.7.1; add [[route]]"
    used = {route.upstream for route in settings.routes}
    for index, upstream in enumerate(settings.upstreams):
        if upstream.name not in used:
            yield f"upstream[{index}]: no route leads to {upstream.name!r}; nothing is sent there"
    for index, route in enumerate(settings.routes[:-1]):
        if _takes_everything(route) and not route.listeners:
            yield f"route[{index}]: takes everything, so the routes after it never match"
            return


def _circles(settings: Settings) -> Iterator[str]:
    own = {(listener.host, listener.port): listener.name for listener in settings.listeners}
    for index, upstream in enumerate(settings.upstreams):
        for place, host in enumerate(upstream.hosts):
            if (name := own.get((host.host, host.port))) is not None:
                yield (
                    f"upstream[{index}].hosts[{place}]: {host} is this relay's own listener "
                    f"{name!r}: mail would go in a circle"
                )


def _unguarded_trust(settings: Settings) -> Iterator[str]:
    for place, server in enumerate(settings.dns.servers if settings.dns.trusted else ()):
        if not ip_address(server.host).is_loopback:
            yield (
                f"dns.servers[{place}]: {server} is another machine, and is trusted: whoever can "
                "change its answers on the way can redirect mail; run the resolver on this machine"
            )


def _readable_passwords(settings: Settings) -> Iterator[str]:
    for index, listener in enumerate(settings.listeners):
        if listener.auth != "none" and listener.auth_without_tls:
            yield (
                f"listener[{index}].auth_without_tls: passwords may come in plain text, and "
                "whoever listens on the network can read them"
            )


def _nothing_recorded(settings: Settings) -> Iterator[str]:
    if settings.traffic_log is None:
        yield "traffic_log: is not set: nothing is recorded of what is relayed; add [traffic_log]"
