"""`make fuzz SECONDS=60`: every target for its share of the time; tells how many executions.

With atheris where it can be imported (pip install '.[fuzz]'), else with our own mutator. A fault's
input is written to var/fuzz/, and belongs into tests/fuzz/test_targets.py once it is mended.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from tests.fuzz.mutator import Fault, Mutator
from tests.fuzz.seeds import words
from tests.fuzz.targets import TARGETS

FOUND = Path("var/fuzz")


def main() -> int:
    """0 when nothing was found."""
    options = _options()
    share = options.seconds / len(options.targets)
    uses_atheris = options.atheris and find_spec("atheris") is not None
    total, faults = 0, 0
    for name in options.targets:
        started = time.monotonic()
        run = _run_atheris if uses_atheris else _run_mutator
        executions, told, is_well = run(name, share, options.seed)
        took = time.monotonic() - started
        print(f"{name:12} {executions:10,} executions in {took:5.0f} s  {told}", flush=True)
        total += executions
        faults += not is_well
    how = "atheris" if uses_atheris else f"mutator, seed {options.seed}"
    print(f"{'in all':12} {total:10,} executions ({how}), {faults} faults")
    return min(faults, 1)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="for all targets together")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--no-atheris", dest="atheris", action="store_false")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    options = parser.parse_args()
    options.targets = options.targets or list(TARGETS)
    if unknown := set(options.targets) - set(TARGETS):
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    return options


def _run_mutator(name: str, seconds: float, seed: int) -> tuple[int, str, bool]:
    mutator = Mutator(TARGETS[name], words(name), seed)
    try:
        mutator.run(seconds)
    except Fault as fault:
        traceback.print_exception(fault)
        FOUND.mkdir(parents=True, exist_ok=True)
        path = FOUND / f"{name}-{seed}"
        path.write_bytes(fault.octets)
        return mutator.executions, f"FAULT, its input is {path}", False
    return mutator.executions, f"{mutator.lines} lines reached", True


def _run_atheris(name: str, seconds: float, seed: int) -> tuple[int, str, bool]:
    """In a process of its own: libFuzzer ends the one it runs in."""
    FOUND.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="relay-fuzz-") as folder:
        _write_seeds(Path(folder), words(name))
        done = subprocess.run(
            [
                *(sys.executable, "-m", "tests.fuzz.coverage_guided", name),
                *(f"-max_total_time={max(1, int(seconds))}", f"-seed={seed % 2**31}"),
                *("-print_final_stats=1", "-max_len=4096", "-timeout=20"),
                *(f"-artifact_prefix={FOUND}/{name}-", folder),
            ],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    told = re.findall(r"number_of_executed_units:\s+(\d+)", done.stderr)
    reached = re.findall(r"cov: (\d+)", done.stderr)
    if done.returncode:
        print(done.stdout[-3000:], done.stderr[-3000:], sep="\n")
    word = f"{reached[-1]} edges reached" if reached else ""
    executions = int(told[-1]) if told else 0
    return executions, "FAULT" if done.returncode else word, not done.returncode


def _write_seeds(folder: Path, seeds: Sequence[bytes]) -> None:
    for number, seed in enumerate(seeds):
        (folder / str(number)).write_bytes(seed)


if __name__ == "__main__":
    sys.exit(main())
