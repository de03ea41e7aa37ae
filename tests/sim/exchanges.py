"""Judges mail by MX: by what DNS has said since, and by the preferences of hosts that are well."""

from typing import Any

from relay.mail.outcome import Delayed
from relay.notices import Attempted, Notice
from tests.sim.names import DOMAINS, UPSTREAM

STEADY = 5.0
"""Seconds of a slow network up to which nothing is given up for it."""


class ExchangeJudge:
    """Asked by the oracle; hears notices itself."""

    def __init__(self, simulation: Any) -> None:
        self._world = simulation.world
        self._machine = simulation.machine
        self._network = simulation.network
        self._names = simulation.names
        self._oracle = simulation.oracle
        self._hosts = {host.address: host for host in simulation.mail_hosts}
        self._is_rough = False
        if self._names.is_used:
            self._machine.observers.append(self._heard)

    def begin(self) -> None:
        """The weather is known."""
        weather = self._network.weather
        self._is_rough = bool(weather.cut) or weather.slow_delay > STEADY

    def check(self, path: str, address: str, attempt: float) -> None:
        """It went to that host, in an attempt that began then."""
        domain = path.partition("@")[2]
        zones = self._names.then(domain, attempt)
        if not any(address in zone.usable for zone in zones):
            self._world.blame(f"{path} was relayed to {address}, which is no mail host of it")
        elif len(zones) == 1 and not self._is_rough:
            usable = zones[0].usable
            for better, preference in usable.items():
                if preference < usable[address] and self._hosts[better].is_spotless:
                    self._world.blame(f"{path} was relayed to {address} rather than {better}")

    def has_failed(self, domain: str, since: float) -> bool:
        """DNS has said so."""
        return any(zone.is_final for zone in self._names.then(domain, since))

    def _heard(self, notice: Notice) -> None:
        """What can never go does not wait."""
        if not isinstance(notice, Attempted) or notice.upstream != UPSTREAM:
            return
        domain = notice.recipient.partition("@")[2]
        if not isinstance(notice.outcome, Delayed) or domain not in DOMAINS:
            return
        began = self._oracle.attempt_began(notice.queue_id, f"{UPSTREAM}:{domain}")
        zones = self._names.then(domain, began)
        if self._machine.is_up and zones and all(zone.is_final for zone in zones):
            self._world.blame(f"{notice.recipient} waits, and DNS says that it can never go")
