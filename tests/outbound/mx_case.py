"""What tests of mx: upstreams share: a real resolver with zones of its own, hosts on loopback."""

from pathlib import Path
from typing import Any, ClassVar

from relay.config import Dns, Listener, Upstream
from relay.outbound.delivery import Delivery
from relay.outbound.directory import Directory
from relay.outbound.sts.fetch import HTTPS_PORT
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
        spoilt = frozenset(name.replace("{port}", str(self.port)) for name in self.spoilt)
        self.names = NameServer(zones, self.signed, spoilt)
        self.addCleanup(self.names.stop)
        self.names.start()

    def there(
        self, address: str = "127.0.0.1", script: Any = None, **more: Any
    ) -> ScriptedUpstream:
        upstream = ScriptedUpstream(script, **{"keywords": KEYWORDS, **more})
        upstream.listen(self.reactor, self.port, address)
        self.addCleanup(upstream.stop)
        return upstream

    def by_mx(self, **settings: Any) -> Delivery:
        """A delivery whose upstream "up" is mx:; `settings` as for `looking`."""
        upstream, directory = self.looking(**settings)
        delivery = Delivery({"up": upstream}, "relay.test", self.reactor, directory=directory)
        self.addCleanup(delivery.stop, 0)
        return delivery

    def looking(
        self,
        *,
        listeners: tuple[Listener, ...] = (),
        is_trusted: bool = True,
        folder: Path | None = None,
        https_port: int = HTTPS_PORT,
        is_looking: bool = False,
        **settings: Any,
    ) -> tuple[Upstream, Directory]:
        """The upstream, and the directory that finds its hosts."""
        dns = Dns(servers=(self.names.address,), timeout=2.0, trusted=is_trusted)
        upstream = Upstream.model_validate(
            {"name": "up", "hosts": (f"mx::{self.port}",), **settings}
        )
        directory = Directory(
            dns,
            "relay.test",
            listeners,
            (upstream,),
            self.reactor,
            folder,
            https_port,
            is_looking=is_looking,
        )
        self.addCleanup(directory.stop)
        return upstream, directory

    def send(self, delivery: Delivery, domain: str, *paths: str, **more: Any) -> Any:
        return self.deliver(delivery, *(paths or (f"a@{domain}",)), lane=f"up:{domain}", **more)
