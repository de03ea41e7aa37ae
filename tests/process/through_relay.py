"""The base of the tests that run a whole relay between their own client and collectors."""

from twisted.trial.unittest import SynchronousTestCase

from tests.process.child import free_port
from tests.process.collector import Collector
from tests.process.relay_process import Fact, RelayProcess


class ThroughRelay(SynchronousTestCase):
    """Everything made here is stopped at the end of the test."""

    def collector(self, is_up: bool = True) -> Collector:
        """One that is down has its port already."""
        collector = Collector(port=0 if is_up else free_port())
        self.addCleanup(collector.stop)
        if is_up:
            collector.start()
        return collector

    def relay(
        self, *upstreams: Fact, routes: list[Fact] | None = None, **tables: Fact
    ) -> RelayProcess:
        """One that runs."""
        relay = self.idle_relay(*upstreams, routes=routes, **tables)
        relay.start()
        return relay

    def idle_relay(
        self, *upstreams: Fact, routes: list[Fact] | None = None, **tables: Fact
    ) -> RelayProcess:
        relay = RelayProcess(upstreams, routes or (), **tables)
        self.addCleanup(relay.clean_up)
        return relay
