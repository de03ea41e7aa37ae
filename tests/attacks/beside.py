"""`make attacks-beside`: what honest clients get done while others attack, as a share of the usual.

Rounds alternate: alone, then with each attack beside, over the same relay; medians are compared.
Ends with status 1 where honest clients keep less than 80 % of their rate.
"""

import argparse
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextlib import suppress as ignoring
from statistics import median

from tests.attacks.dialogue import Rude
from tests.interop.peers import SmtpSink
from tests.interop.tools import need
from tests.process.relay_process import RelayProcess, route, upstream

LEAST_SHARE = 0.8

_SESSIONS = "10"  # of honest clients

PER_CLIENT = 30
"""Sessions that one address may have."""

Attack = Callable[[int, threading.Event], None]


def idle(port: int, is_over: threading.Event) -> None:
    """500 sessions that say nothing."""
    with ExitStack() as sessions:
        for number in range(500):
            sessions.enter_context(Rude(port, source=_one_of_many(number)))
        is_over.wait()


def _one_of_many(number: int) -> str:
    """Addresses enough that none comes to its limit."""
    return f"127.0.1.{number % 25 + 1}"


def slow(port: int, is_over: threading.Event) -> None:
    """200 sessions that say an octet every tenth of a second, between them 2,000 a second."""
    with ExitStack() as stack, ignoring(OSError):
        sessions = [
            stack.enter_context(Rude(port, source=_one_of_many(number))) for number in range(200)
        ]
        while not is_over.wait(0.1):
            for each in sessions:
                each.socket.send(b"x")


def knocking(port: int, is_over: threading.Event) -> None:
    """A connection after the other from one address, which has all its sessions already: 421."""
    with ExitStack() as stack:
        for _ in range(PER_CLIENT):
            stack.enter_context(Rude(port, source=ATTACKER))
        while not is_over.wait(0.005):
            with ignoring(OSError), Rude(port, source=ATTACKER):
                pass


def erring(port: int, is_over: threading.Event) -> None:
    """Sessions of errors alone, each closed by max_errors, one after the other."""
    while not is_over.wait(0.02):
        with ignoring(OSError), Rude(port, source=ATTACKER) as client:
            client.pour(b"XYZZY\r\n" * 30, 1)
            client.last_word()


def guessing_recipients(port: int, is_over: threading.Event) -> None:
    """RCPT after RCPT that is refused."""
    while not is_over.wait(0.02):
        with ignoring(OSError), Rude(port, source=ATTACKER) as client:
            client.say("EHLO c")
            client.say("MAIL FROM:<a@example.net>")
            client.pour(b"RCPT TO:<a@elsewhere.example>\r\n" * 30, 1)
            client.last_word()


ATTACKER = "127.0.0.9"
"""Attackers have an address of their own, which may not relay."""

ATTACKS: dict[str, Attack] = {
    "500 idle sessions": idle,
    "200 slow clients": slow,
    "connections beyond the limit": knocking,
    "errors": erring,
    "refused recipients": guessing_recipients,
}


@contextmanager
def _attacked(port: int, attack: Attack | None) -> Iterator[None]:
    is_over = threading.Event()
    thread = threading.Thread(target=attack, args=(port, is_over)) if attack else None
    if thread is not None:
        thread.start()
        time.sleep(2)
    try:
        yield
    finally:
        is_over.set()
        if thread is not None:
            thread.join()


def _rate(port: int, count: int) -> float:
    """Messages a second that smtp-source gets accepted."""
    command = [need("smtp-source"), "-s", _SESSIONS, "-m", str(count), "-l", "4096"]
    command += ["-f", "a@example.net", "-t", "b@example.org", f"127.0.0.1:{port}"]
    started = time.monotonic()
    subprocess.run(command, check=True, timeout=300)
    return count / (time.monotonic() - started)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.attacks.beside", description=__doc__)
    parser.add_argument("--count", type=int, default=2000, help="messages of a round")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    sink = SmtpSink()
    relay = RelayProcess(
        [upstream("main", sink.port)],
        [route("main")],
        listener={
            "relay_networks": ["127.0.0.1/32"],
            "max_connections_per_client": PER_CLIENT,
        },
    )
    try:
        sink.start()
        relay.start()
        relay.wait_for(1, "started")
        return _compare(relay.port, options.count, options.rounds)
    finally:
        relay.clean_up()
        sink.clean_up()


def _compare(port: int, count: int, rounds: int) -> int:
    _rate(port, count)  # warm
    is_good = True
    for name, attack in ATTACKS.items():
        alone, attacked = [], []
        for _ in range(rounds):
            alone.append(_rate(port, count))
            with _attacked(port, attack):
                attacked.append(_rate(port, count))
        share = median(attacked) / median(alone)
        is_good = is_good and share >= LEAST_SHARE
        print(
            f"{name:30} {median(attacked):6.0f} messages a second beside it,"
            f" {median(alone):6.0f} alone: {share:4.0%}",
            flush=True,
        )
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
