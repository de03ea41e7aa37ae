"""The configs of a simulated world: the first, others that an operator may want, bad ones."""

from copy import deepcopy
from pathlib import Path
from typing import Any

from relay.config.reading import Config, check
from tests.sim.logins import Logins
from tests.sim.machine import ADDRESS
from tests.sim.names import UPSTREAM, Names
from tests.sim.world import World

EXPIRE_AFTER = 720.0
"""Seconds."""

HOSTS = {
    "east": ("10.1.0.1",),
    "west": ("10.2.0.1", "10.2.0.2"),
    "quick": ("10.3.0.1",),
    "through": ("10.4.0.1",),
    "back": ("10.5.0.1",),
    "spare": ("10.6.0.1",),
}

MAY_GO_TO = {
    "east.example": ("east", "west", "spare"),
    "west.example": ("west", "west", "spare"),
    "quick.example": ("quick", "quick", "spare"),
    "through.example": ("through", "through", "spare"),
}
"""By domain. DSNs must get home: their way stays."""

Tables = dict[str, Any]


def read_tables(tables: Tables) -> Config:
    """Raises ConfigError. `check` makes a copy of what it is given."""
    return check(tables, Path("/"))


def ways(tables: Tables) -> dict[str, str]:
    """Domains to upstreams."""
    return {
        pattern.removeprefix("*@"): route["upstream"]
        for route in tables["route"]
        for pattern in route["recipients"]
    }


class Configs:
    """By chance."""

    def __init__(self, world: World, logins: Logins, names: Names) -> None:
        self._names = names
        self._logins = logins
        self._random = world.chance("config")

    def first(self) -> Tables:
        random = self._random
        tables: Tables = {
            "hostname": "relay.example",
            "queue": {
                "store": "sqlite:/disk/spool",
                "retry": ["20s", "1m", "5m"],
                "warn_after": random.choice(("never", "5m")),
                "expire_after": f"{int(EXPIRE_AFTER)}s",
                "max_in_hand": random.choice((1, 3, 200)),
            },
            "listener": [
                {
                    "name": "lan",
                    "address": f"{ADDRESS}:25",
                    "relay_networks": ["10.0.0.0/8"],
                    "max_connections": 100,
                }
            ],
            "upstream": [self._upstream(name) for name in HOSTS if name != "spare"],
            "route": [
                {"recipients": ["*@east.example"], "upstream": "east"},
                {"recipients": ["*@west.example"], "upstream": "west"},
                {
                    "recipients": ["*@quick.example"],
                    "upstream": "quick",
                    "delivery": "hybrid",
                    "hybrid_wait": random.choice(("2s", "30s")),
                },
                {
                    "recipients": ["*@through.example"],
                    "upstream": "through",
                    "delivery": "proxy",
                },
                {"recipients": ["*@back.example"], "upstream": "back"},
            ],
            "traffic_log": {"file": "-"},
        }
        if self._logins.is_used:
            tables["listener"].append(self._logins.listener(ADDRESS))
            tables["auth"] = self._logins.auth()
        if self._names.is_used:
            tables["upstream"].append(self._names.upstream())
            tables["route"].append(self._names.route())
        return tables

    def _upstream(self, name: str) -> Tables:
        random = self._random
        return {
            "name": name,
            "hosts": [f"smtp://{host}:25" for host in HOSTS[name]],
            "tls": "none",
            "max_connections": random.choice((1, 2, 3, 20)),
            "max_messages_per_connection": random.choice((0, 0, 1, 3)),
            "max_recipients": random.choice((2, 100)),
            "idle_timeout": random.choice(("5s", "1m")),
            **self._logins.keys_of(name),
        }

    def another(self, tables: Tables) -> Tables:
        """Routes, upstreams and limits of it changed, or some of them."""
        random, new = self._random, deepcopy(tables)
        if random.random() < 0.7:
            for route in new["route"]:
                domain = route["recipients"][0].removeprefix("*@")
                if domain in MAY_GO_TO and random.random() < 0.5:
                    route["upstream"] = random.choice(MAY_GO_TO[domain])
        if self._names.is_used:
            self._names.vary(new)
        used = set(ways(new).values())
        before = {each["name"]: each for each in new["upstream"]}
        new["upstream"] = []
        for name in HOSTS:
            known = before.get(name)
            if name not in used and (known is None or random.random() < 0.7):
                continue
            is_same = known is not None and random.random() < 0.7
            new["upstream"].append(known if is_same else self._upstream(name))
        if UPSTREAM in before:
            new["upstream"].append(before[UPSTREAM])
        if random.random() < 0.3:
            new["queue"]["max_in_hand"] = random.choice((1, 3, 200))
            new["queue"]["warn_after"] = random.choice(("never", "5m"))
        return new

    def bad(self, tables: Tables) -> Tables:
        """With other ways, and something that cannot be."""
        new = self.another(tables)
        what = self._random.choice(("no upstream", "another store", "no name"))
        if what == "no upstream":
            new["route"][0]["upstream"] = "nowhere"
        elif what == "another store":
            new["queue"]["store"] = "sqlite:/disk/other"
        else:
            new["hostname"] = ""
        return new
