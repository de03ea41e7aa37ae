"""Whom failed authentications shut out, as relayctl status tells it."""

from relay.observe.facts import rfc3339
from relay.users.failures import Failures

MAX_ROWS = 100
"""Addresses that are named, those that failed last; the number tells how many there are."""


def shut_out_status(failures: Failures, now: float) -> dict[str, object]:
    """`now` in unix seconds."""
    shut_out = failures.shut_out(now)
    rows = [
        {"shut_out": each.key, "failures": each.failures, "until": rfc3339(now + each.left)}
        for each in shut_out[:MAX_ROWS]
    ]
    return {"shut_out_addresses": len(shut_out), "shut_out": rows}
