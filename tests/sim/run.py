"""`python -m tests.sim.run`: simulated worlds, one a seed; tells the seed of each that failed."""

import argparse
import io
import sys
import traceback

from tests.sim.simulation import simulate


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim.run", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="how many, from --first on")
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--seed", type=int, help="this one alone")
    parser.add_argument("--trace", action="store_true", help="show what happens")
    options = parser.parse_args()
    seeds = [options.seed] if options.seed is not None else range(
        options.first, options.first + options.seeds
    )
    failed = 0
    for seed in seeds:
        try:
            simulation = simulate(seed, print if options.trace else None)
        except Exception as error:
            failed += 1
            print(f"seed {seed}: {type(error).__name__}: {error}")
            if options.seed is not None:
                traceback.print_exc()
        else:
            o = simulation.oracle
            if options.seed is not None:
                print(f"seed {seed}: {simulation.world.events} events, {len(o.submissions)} sent, {o.relayed} relayed, {o.duplicates} duplicates, {simulation.machine.deaths} deaths {simulation.world.trace_digest}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
