"""What DNS says in the simulated world of the mail hosts of some domains, and has said.

It answers as a resolver does, in the place of `Questions`; what the relay makes of that is its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

from relay.outbound.dns.answer import Answer, Kind, Status
from tests.sim.world import World

UPSTREAM = "internet"
PATTERN = "*.inet.example"
DOMAINS = ("one.inet.example", "two.inet.example", "three.inet.example", "four.inet.example")

HOSTS = {f"mx{n}.inet.example": f"10.7.0.{n}" for n in (1, 2, 3, 4)}

OURS = {"relay.example": "10.0.0.1", "alias.inet.example": "10.0.0.1"}
"""Names of the relay itself: it must not send to itself, nor to any host that is not preferred."""

ADDRESSES = HOSTS | OURS | dict(zip(DOMAINS, HOSTS.values(), strict=True))

GONE = "gone.inet.example"
"""Has no address."""

KINDS = ("hosts", "hosts", "hosts", "hosts", "null", "no name", "implicit", "unknown", "unknown")


@dataclass
class Zone:
    """What is said of a domain for a while. `named`: (preference, host)."""

    kind: str
    named: tuple[tuple[int, str], ...]
    domain: str
    begin: float = 0.0
    end: float = inf

    @property
    def usable(self) -> Mapping[str, int]:
        """The preference of each address that its mail may go to."""
        if self.kind == "implicit":
            return {ADDRESSES[self.domain]: 0}
        if self.kind != "hosts":
            return {}
        ours = min((p for p, name in self.named if name in OURS), default=inf)
        return {HOSTS[name]: p for p, name in self.named if name in HOSTS and p < ours}

    @property
    def is_final(self) -> bool:
        """Its mail has failed."""
        return self.kind != "unknown" and not self.usable


class Names:
    """`is_used`: this world has mail by MX."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._random = random = world.chance("names")
        self.is_used = random.random() < 0.3
        self.ttl = random.choice((0.0, 20.0, 60.0))
        self._delivery = random.choice(("store", "store", "hybrid"))
        self._zones: dict[str, list[Zone]] = {domain: [] for domain in DOMAINS}
        self._unknown: dict[str, int] = {}  # hosts whose address nobody can tell now
        for domain in DOMAINS if self.is_used else ():
            self.change(domain, random.choice(KINDS))

    @property
    def believed_for(self) -> float:
        """Seconds for which the relay may go by what was said before: its clock may be slow."""
        return 2 * self.ttl + 20

    def names_of(self, address: str) -> int:
        """How many lead to it: sessions are limited for each. A domain without MX has its own."""
        implicit = {
            domain
            for domain, zones in self._zones.items()
            if any(zone.kind == "implicit" for zone in zones)
        }
        return 1 + any(ADDRESSES[domain] == address for domain in implicit)

    # --- the config -----------------------------------------------------------------------------

    def upstream(self) -> dict[str, Any]:
        random = self._random
        return {
            "name": UPSTREAM,
            "hosts": ["mx:"],
            "tls": "none",
            "max_connections": random.choice((1, 2, 20)),
            "max_connections_in_all": random.choice((1, 3, 100)),
            "max_recipients": random.choice((2, 100)),
            "idle_timeout": random.choice(("5s", "1m")),
        }

    def route(self) -> dict[str, Any]:
        return {"recipients": [f"*@{PATTERN}"], "upstream": UPSTREAM, "delivery": self._delivery}

    def vary(self, tables: dict[str, Any]) -> None:
        """At a reload: to one upstream for all, or back; other limits."""
        for route in tables["route"]:
            if route["recipients"] == [f"*@{PATTERN}"] and self._random.random() < 0.3:
                route["upstream"] = self._random.choice((UPSTREAM, "spare"))

    # --- what changes ---------------------------------------------------------------------------

    def change(self, domain: str, kind: str) -> None:
        random, zones = self._random, self._zones[domain]
        names = random.sample((*HOSTS, GONE), random.randint(1, 4))
        if random.random() < 0.3:
            names.append(random.choice(tuple(OURS)))
        named = tuple((random.choice((10, 10, 20, 30)), name) for name in names)
        if zones:
            zones[-1].end = self._world.now
        zones.append(Zone(kind, named, domain, self._world.now))
        self._world.tell(f"DNS: {domain} {kind} {named if kind == 'hosts' else ''}")

    def hide(self, host: str, seconds: float) -> None:
        """Its address is not to be had for so long."""
        self._unknown[host] = self._unknown.get(host, 0) + 1
        self._world.after(seconds, self._show, host)

    def _show(self, host: str) -> None:
        if host in self._unknown:
            self._unknown[host] -= 1
            if not self._unknown[host]:
                del self._unknown[host]

    def settle(self) -> None:
        """Nothing is unknown any more."""
        self._unknown.clear()
        for domain, zones in self._zones.items():
            if zones and zones[-1].kind == "unknown":
                self.change(domain, "hosts")

    # --- what is so -----------------------------------------------------------------------------

    def then(self, domain: str, since: float) -> list[Zone]:
        """What was said at some time since then, or just before."""
        return [z for z in self._zones.get(domain, ()) if z.end >= since - self.believed_for]

    def ask(self, name: str, kind: Kind) -> Answer:
        if kind is Kind.MX:
            return self._mail_hosts(self._zones[name][-1])
        if name in self._unknown:
            return Answer(Status.FAILED, name, why="SERVFAIL")
        if name not in ADDRESSES:
            return Answer(Status.NO_NAME, name, ttl=self.ttl)
        if kind is not Kind.A:
            return Answer(Status.NO_DATA, name, ttl=self.ttl)
        return Answer(Status.FOUND, name, (ADDRESSES[name],), ttl=self.ttl)

    def _mail_hosts(self, zone: Zone) -> Answer:
        status, records = {
            "hosts": (Status.FOUND, zone.named),
            "null": (Status.FOUND, ((0, ""),)),
            "no name": (Status.NO_NAME, ()),
            "implicit": (Status.NO_DATA, ()),
            "unknown": (Status.FAILED, ()),
        }[zone.kind]
        return Answer(status, zone.domain, records, ttl=self.ttl, why="SERVFAIL")
