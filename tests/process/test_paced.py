"""max_rate outlives the process: a restart begins no new quota, however it came about."""

from tests.process.relay_process import upstream
from tests.process.sending import send
from tests.process.through_relay import ThroughRelay

RESTARTS = 6


class RestartTests(ThroughRelay):
    def test_no_restart_earns_a_turn(self) -> None:
        """Orderly ones and crashes in turn; much more waits than may go."""
        collector = self.collector()
        relay = self.relay(upstream("main", collector.port, max_rate="2/h"))
        for n in range(RESTARTS + 5):
            send(relay.port, [f"{n}@example.org"])
        collector.wait_for(1)
        for n in range(RESTARTS):
            if n % 2:
                relay.kill()
            else:
                relay.stop()
            relay.start()
            relay.relayctl("status")  # the queue is open, and what may go has gone
        self.assertEqual(len(collector.kept), 1)
