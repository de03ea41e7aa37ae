"""Starts a relay and says how long it took until it served its first client."""

import smtplib
import time

from tests.process.child import wait_until
from tests.process.relay_process import RelayProcess

_LIMIT = 300.0


def start(relay: RelayProcess) -> float:
    """Seconds from the start of the process to its reply to EHLO."""
    started_at = time.monotonic()
    relay.launch()
    wait_until(lambda: _serves(relay), "first reply to EHLO", _LIMIT)
    return time.monotonic() - started_at


def _serves(relay: RelayProcess) -> bool:
    if not relay.child.is_running:
        raise AssertionError(f"the relay ended:\n{relay.child.output}")
    try:
        with smtplib.SMTP("127.0.0.1", relay.port, timeout=_LIMIT) as session:
            return session.ehlo()[0] == 250
    except ConnectionRefusedError:
        return False
