"""The limits of the config as the world sees them: sessions with each host, what a session and a
transaction carry, what is in hand for each lane, and mail taken while the disk has no room for it.

After a reload, what began by the config before may end by it.
"""

from collections import Counter
from math import inf
from typing import Any

from tests.sim.configs import HOSTS
from tests.sim.mail import DELIVERIES, Submission
from tests.sim.names import HOSTS as MAIL_HOSTS
from tests.sim.names import UPSTREAM
from tests.sim.oracle import Copy

SPACE_SEEN_WITHIN = 15.0
"""Seconds: five of its own between two looks, and its clock may be slow."""

PROXIED = frozenset(domain for domain, delivery in DELIVERIES.items() if delivery == "proxy")
"""How many recipients come at once there is their client's affair."""


class Limits:
    """Hears of attempts, of what upstreams take and of mail that comes; `look` at any instant."""

    def __init__(self, simulation: Any) -> None:
        self._world = simulation.world
        self._machine = simulation.machine
        self._network = simulation.network
        self._names = simulation.names
        self._reloads = simulation.reloads
        self._attempts: Counter[str] = Counter()  # under way, by lane
        self._machine.when_cut_short.append(self._attempts.clear)

    def look(self) -> None:
        """No host has more sessions than it may."""
        by_mx = {UPSTREAM: MAIL_HOSTS.values()} if self._names.is_used else {}
        for name, hosts in (HOSTS | by_mx).items():
            for host in hosts:
                sessions = self._network.sessions(self._machine.reactor, host)
                names = self._names.names_of(host) if name == UPSTREAM else 1
                if sessions > names * self._reloads.most_sessions(name):
                    self._world.blame(f"{sessions} sessions with {host} of {name}")

    def attempt_begins(self, lane: str, queue_id: str) -> None:
        self._attempts[lane] += 1
        configs = self._reloads.configs()
        if self._attempts[lane] > sum(config.queue.max_in_hand for config in configs):
            self._world.blame(f"{self._attempts[lane]} messages are in hand for {lane}")

    def attempt_ends(self, lane: str, queue_id: str) -> None:
        self._attempts[lane] -= 1

    def taken(self, copy: Copy) -> None:
        """By an upstream."""
        known = [
            upstream
            for config in self._reloads.configs(of_any_process=True)
            for upstream in config.upstreams
            if upstream.name == copy.upstream
        ]
        if copy.number > max((e.max_messages_per_connection or inf for e in known), default=inf):
            self._world.blame(f"{copy.upstream} got {copy.number} messages in a session")
        stored = [path for path in copy.paths if path.partition("@")[2] not in PROXIED]
        if len(stored) > max((each.max_recipients for each in known), default=inf):
            self._world.blame(f"{copy.upstream} got {len(stored)} recipients at once")

    def mail_taken(self, submission: Submission) -> None:
        """Its MAIL got a 250."""
        if submission.began_at > self._machine.short_since + SPACE_SEEN_WITHIN:
            self._world.blame(f"{submission.token} was taken, and there is no room for it")
