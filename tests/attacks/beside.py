"""`make attacks-beside`: what honest clients get done while others attack, as a share of the usual.

The attackers take CPU of the same machine, which is no cost of the relay's. So rounds alternate:
alone; with the attack going on against a sink that just answers; with the attack against the relay.
The share is the last by the one before. Beside it: the relay's CPU for each honest message.
Ends with status 1 where honest clients keep less than 80 % of their rate.
"""

import argparse
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

from tests.attacks.floods import ATTACKS, PER_CLIENT, Attack, Course
from tests.interop.peers import SmtpSink
from tests.interop.tools import need
from tests.process.relay_process import RelayProcess, route, upstream

LEAST_SHARE = 0.8

_SESSIONS = "10"  # of honest clients

_SETTLING = 1.0
"""Seconds between an attack's beginning and what is measured."""

_PATIENCE = 120.0
"""Seconds that it has to begin."""


class Round(NamedTuple):
    rate: float  # messages a second
    cpu: float  # milliseconds of the relay's for each message


@contextmanager
def _attacked(port: int, attack: Attack | None) -> Iterator[None]:
    course = Course()
    thread = threading.Thread(target=attack, args=(port, course)) if attack else None
    if thread is not None:
        thread.start()
    try:
        if thread is not None:
            if not course.is_under_way.wait(_PATIENCE):
                raise TimeoutError("the attack did not get under way")
            time.sleep(_SETTLING)
        yield
    finally:
        course.is_over.set()
        if thread is not None:
            thread.join()


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _measure(relay: RelayProcess, count: int) -> Round:
    """Messages that smtp-source gets accepted."""
    command = [need("smtp-source"), "-s", _SESSIONS, "-m", str(count), "-l", "4096"]
    command += ["-f", "a@example.net", "-t", "b@example.org", f"127.0.0.1:{relay.port}"]
    started, cpu = time.monotonic(), _cpu_seconds(relay.child.pid)
    subprocess.run(command, check=True, timeout=300)
    used = _cpu_seconds(relay.child.pid) - cpu
    return Round(count / (time.monotonic() - started), used * 1000 / count)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.attacks.beside", description=__doc__)
    parser.add_argument("--count", type=int, default=2000, help="messages of a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="attacks with that in their names")
    parser.add_argument("--error-delay", default="1s", help="as of a listener, to compare")
    return parser.parse_args()


def main() -> int:
    options = _options()
    sink, decoy = SmtpSink(), SmtpSink(sessions=10_000)
    relay = _relay(sink.port, options.error_delay)
    try:
        sink.start()
        decoy.start()
        relay.add_user("someone", "the right password")
        relay.start()
        relay.wait_for(1, "started")
        return _compare(relay, decoy.port, options)
    finally:
        relay.clean_up()
        sink.clean_up()
        decoy.clean_up()


def _relay(sink: int, error_delay: str) -> RelayProcess:
    return RelayProcess(
        [upstream("main", sink)],
        [route("main")],
        listener={
            "relay_networks": ["127.0.0.1/32"],
            "max_connections": 6000,
            "max_connections_per_client": PER_CLIENT,
            "error_delay": error_delay,
            "auth": "offered",
            "auth_without_tls": True,
        },
        top={"auth": {"users": "users"}},
    )


def _compare(relay: RelayProcess, decoy: int, options: argparse.Namespace) -> int:
    count = options.count
    _measure(relay, count)  # warm
    is_good = True
    print(f"{'':28}  msg/s: alone  sink attacked  attacked  share   CPU ms/msg: alone  attacked")
    for name, attack in ATTACKS.items():
        if options.only not in name:
            continue
        alone, elsewhere, attacked = [], [], []
        for _ in range(options.rounds):
            alone.append(_measure(relay, count))
            with _attacked(decoy, attack):
                elsewhere.append(_measure(relay, count))
            with _attacked(relay.port, attack):
                attacked.append(_measure(relay, count))
        share = _rate(attacked) / _rate(elsewhere)
        is_good = is_good and share >= LEAST_SHARE
        print(
            f"{name:28} {_rate(alone):13.0f} {_rate(elsewhere):14.0f} {_rate(attacked):9.0f}"
            f"  {share:5.0%} {_cpu(alone):19.2f} {_cpu(attacked):9.2f}",
            flush=True,
        )
    return 0 if is_good else 1


def _rate(rounds: list[Round]) -> float:
    return median(each.rate for each in rounds)


def _cpu(rounds: list[Round]) -> float:
    return median(each.cpu for each in rounds)


if __name__ == "__main__":
    sys.exit(main())
