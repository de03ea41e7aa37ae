"""What tests of mx: upstreams share: a real resolver with zones of its own, hosts on loopback."""

from typing import Any, ClassVar

from relay.config import Dns, Listener, Upstream
from relay.outbound.delivery import Delivery
from relay.outbound.directory import Directory
from relay.testing.upstream import KEYWORDS, ScriptedUpstream
from tests.interop.nameserver import NameServer
from tests.outbound.case import DeliveryCase
from tests.process.child import free_port


class MxCase(DeliveryCase):
    """All hosts listen at one `port`, each on an address of its own. `{port}` in zones is it."""

    zones: ClassVar[dict[str, str]] = {}
    signed: ClassVar[frozenset[str]] = frozenset()
    spoilt: ClassVar[frozenset[str]] = frozenset()

    def setUp(self) -> None:
        self.port = free_port()
        zones = {name: text.replace("{port}", str(self.port)) for name, text in self.zones.items()}
        self.names = NameServer(zones, self.signed, self.spoilt)
        self.addCleanup(self.names.stop)
        self.names.start()

    def host(self, address: str = "127.0.0.1", script: Any = None, **more: Any) -> ScriptedUpstream:
        upstream = ScriptedUpstream(script, keywords=KEYWORDS, **more)
        upstream.listen(self.reactor, self.port, address)
        self.addCleanup(upstream.stop)
        return upstream

    def dns(self, **settings: Any) -> Dns:
        return Dns(servers=(self.names.address,), timeout=2.0, trusted=True, **settings)

    def by_mx(self, *, listeners: tuple[Listener, ...] = (), **settings: Any) -> Delivery:
        """A delivery whose upstream "up" is mx:."""
        upstream = Upstream.model_validate(
            {"name": "up", "hosts": (f"mx::{self.port}",), **settings}
        )
        directory = Directory(self.dns(), "relay.test", listeners, (upstream,), self.reactor)
        delivery = Delivery({"up": upstream}, "relay.test", self.reactor, directory=directory)
        self.addCleanup(delivery.stop, 0)
        return delivery

    def send(self, delivery: Delivery, domain: str, *paths: str, **more: Any) -> Any:
        return self.deliver(delivery, *(paths or (f"a@{domain}",)), lane=f"up:{domain}", **more)
