"""`make crash KILLS=20 SEED=1`: real faults under load, and the account after each of them.

Ends with status 1 where anything was lost, invented, damaged, or came twice without a fault.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from random import Random

from tests.crash import kills, shortage, steps
from tests.crash.account import Account
from tests.crash.scene import Scene, scene

_FEW_DESCRIPTORS = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))"

_SOON_AGAIN = "import relay.workers.supervisor as supervisor; supervisor.MAX_WAIT = 2.0"
"""Else so many crashes in a row would be waited for longer and longer."""

Fault = Callable[[Scene, int], Account]


def main() -> int:
    options = _options()
    is_good = True
    for name, count, run in _runs(options.kills):
        if options.only and options.only not in name:
            continue
        started = time.monotonic()
        try:
            account, notes = run(Random(f"{options.seed} {name}"), count)
        except AssertionError as error:  # it did not recover in time
            print(f"{name:24} FAILED: {error}", flush=True)
            is_good = False
            continue
        took = time.monotonic() - started
        print(
            f"{name:24} {account}  ({took:.0f} s{''.join('; ' + note for note in notes)})",
            flush=True,
        )
        is_good = is_good and account.is_good
    print(f"seed {options.seed}: {'as promised' if is_good else 'NOT AS PROMISED'}")
    return 0 if is_good else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--kills", type=int, default=20, help="in all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="runs whose name has this in it")
    return parser.parse_args()


Run = Callable[[Random, int], tuple[Account, list[str]]]


def _runs(count: int) -> Iterator[tuple[str, int, Run]]:
    half, quarter = max(1, count // 2), max(1, count // 4)
    yield "kill -9, store", half, _under(kills.kill_the_relay)
    yield "kill -9, hybrid", quarter, _under(kills.kill_the_relay, delivery="hybrid")
    yield "kill -9 of a worker", quarter, _under(kills.kill_workers, workers=2, before=_SOON_AGAIN)
    yield "upstream cut", quarter, _under(kills.cut_the_upstream)
    yield "descriptors used up", 2, _under(shortage.use_up_descriptors, before=_FEW_DESCRIPTORS)
    yield "clock set", 10, _under(steps.move_the_clock, has_own_clock=True)
    if os.geteuid() == 0:  # file systems are mounted
        yield "disk full", 3, _under(shortage.fill_the_disk, on_small_disk=True)
        yield "below min_free", 2, _under(shortage.come_below_min_free, on_small_disk=True)
        yield "spool read-only", 2, _under(shortage.forbid_writing)
        yield "read-only at a start", 2, _under(shortage.start_where_nothing_can_be_written)


def _under(fault: Fault, **settings: object) -> Run:
    def run(random: Random, count: int) -> tuple[Account, list[str]]:
        with scene(random, **settings) as stage:  # type: ignore[arg-type]
            return fault(stage, count), stage.notes

    return run


if __name__ == "__main__":
    sys.exit(main())
