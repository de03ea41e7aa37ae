"""What the service hands on from the config to its parts. Whole relays: tests/process."""

from pathlib import Path

from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase

from relay.config.reading import load
from relay.service.relay import RelayService

CONFIG = """
hostname = "relay.example.net"
[queue]
store = "sqlite:spool"
max_content_memory = "3M"
[[listener]]
name = "lan"
address = "127.0.0.1:0"
[[upstream]]
name = "a"
hosts = ["smtp://127.0.0.1:1"]
[[route]]
upstream = "a"
"""


class WiringTests(SynchronousTestCase):
    def test_the_memory_for_content_is_the_config_s(self) -> None:
        file = Path(self.mktemp())
        file.write_text(CONFIG)
        service = RelayService(load(file), reactor)
        buffers = service._stage.store.buffers
        self.addCleanup(buffers.close)
        writers = [buffers.writer(str(n)) for n in range(50)]
        full = [buffers.is_full for writer in writers if writer.write(b"x" * 64 * 2**10) is None]
        self.assertEqual([False] * 48 + [True] * 2, full)
        for writer in writers:
            writer.discard()
