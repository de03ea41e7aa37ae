"""What two configurations differ in: what takes effect while the relay runs, and what does not.

Pure. Keys are named, values never: one may be a secret's place.
"""

from collections.abc import Iterator, Mapping, Sequence

from pydantic import BaseModel

from relay.config import Config, Listener, Upstream

FIXED = (
    "workers",
    "queue.store",
    "queue.max_content_memory",
    "traffic_log",
    "admin",
)
"""Decided at the start: who has which queue, the memory that its writers share, open files, and the
operators' TCP port, which relayctl may be speaking through."""

_TABLES = ("queue", "dns", "auth")
_LISTS = ("listeners", "upstreams", "routes")


def needing_restart(old: Config, new: Config) -> list[str]:
    """What cannot change while the relay runs, a line each."""
    return [
        f"{key}: cannot change while the relay runs; restart it, or take this change back"
        for key in FIXED
        if _value(old, key) != _value(new, key)
    ]


def _value(config: object, key: str) -> object:
    for name in key.split("."):
        config = getattr(config, name)
    return config


def changes(old: Config, new: Config) -> list[str]:
    """What is another than before, in the order of the schema: "queue.retry", "listener lan: tls",
    "upstream a: added", "route"."""
    found = []
    for name in type(new).model_fields:
        before, now = getattr(old, name), getattr(new, name)
        if before == now or name in _LISTS:
            continue
        if name in _TABLES and before is not None and now is not None:
            found += [f"{name}.{key}" for key in _keys(before, now)]
        else:
            found.append(name)
    found += _of_named("listener", old.listeners, new.listeners)
    found += _of_named("upstream", old.upstreams, new.upstreams)
    return found + ["route"] * (old.routes != new.routes)


def _keys(before: BaseModel, now: BaseModel) -> Iterator[str]:
    for name in type(now).model_fields:
        if getattr(before, name) != getattr(now, name):
            yield name


def _of_named(
    kind: str, before: Sequence[Listener | Upstream], now: Sequence[Listener | Upstream]
) -> Iterator[str]:
    old = {each.name: each for each in before}
    for each in now:
        known = old.pop(each.name, None)
        if known is None:
            yield f"{kind} {each.name}: added"
        elif known != each:
            yield f"{kind} {each.name}: {', '.join(_keys(known, each))}"
    for name in old:
        yield f"{kind} {name}: removed"


def kept_sockets(old: Sequence[Listener], new: Sequence[Listener]) -> Mapping[str, str]:
    """New listeners' names to the old ones' whose sockets they take over: those at the same
    address. Port 0 is a port of each listener's own, so there the name must be the same, too."""
    by_address = {each.address: each.name for each in old if each.has_own_address}
    at = {each.name: each.address for each in old}
    kept = {}
    for each in new:
        if each.has_own_address:
            before = by_address.get(each.address)
            if before is not None:
                kept[each.name] = before
        elif at.get(each.name) == each.address:
            kept[each.name] = each.name
    return kept


def changes_ways(old: Config, new: Config) -> bool:
    """Whether waiting mail may belong to another next hop."""
    ways = [
        {each.name: (each.is_by_domain, each.identities) for each in c.upstreams}
        for c in (old, new)
    ]
    return old.routes != new.routes or ways[0] != ways[1]
