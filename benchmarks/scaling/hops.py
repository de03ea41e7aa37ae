"""Row 3: more and more next hops, a tenth of them dead."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.cpu import cpu_seconds
from benchmarks.memory import share_megabytes
from benchmarks.scaling.row import Column, Figures, Results, Row, Setting, medians
from benchmarks.scaling.start import start
from tests.interop.peers import SmtpSink
from tests.interop.tools import CHECKOUT
from tests.process.child import Child, free_port, wait_until
from tests.process.relay_process import RelayProcess, route, upstream

_SINKS = 8
_SINK_SESSIONS = 4000
"""One sink would be short of ports on its side: each hop keeps a session of its own."""

_DEAD_EACH = 10
"""Each tenth hop refuses connections."""

_MESSAGES = 9000
"""To living hops, in each of the two passes: one for each where there are ten thousand."""

_LIMIT = 300.0


def measure(steps: Sequence[int], setting: Setting) -> Results:
    found: dict[int, list[Figures]] = {count: [] for count in steps}
    for number in range(setting.rounds):
        for count in steps:
            setting.say(f"round {number + 1}: {count:,} next hops")
            found[count].append(_one(count, setting))
    return {count: medians(rounds) for count, rounds in found.items()}


def _one(hops: int, setting: Setting) -> Figures:
    sinks = [SmtpSink(sessions=_SINK_SESSIONS) for _ in range(_SINKS)]
    relay = _relay(hops, [sink.port for sink in sinks], free_port(), setting)
    living = _MESSAGES // (10 if setting.is_quick else 1)
    try:
        for sink in sinks:
            sink.start()
        ready = start(relay)
        first, _ = _pass(relay, hops, living, living, setting)
        further, cpu = _pass(relay, hops, living, 2 * living, setting)
        memory = share_megabytes(relay.child.pid)
    finally:
        relay.clean_up()
        for sink in sinks:
            sink.clean_up()
    return {"ready": ready, "memory": memory, "first": first, "further": further, "cpu": cpu}


def _relay(hops: int, sinks: Sequence[int], dead: int, setting: Setting) -> RelayProcess:
    """The retry times are those it ships with; sessions live long enough to be used again."""
    return RelayProcess(
        [
            upstream(f"hop{n}", dead if _is_dead(n) else sinks[n % len(sinks)], idle_timeout="5m")
            for n in range(hops)
        ],
        [route(f"hop{n}", f"*@hop{n}.example") for n in range(hops)],
        queue={"retry": ["1m", "5m", "15m", "30m", "1h", "2h", "4h"]},
        parent=setting.folder,
    )


def _is_dead(hop: int) -> bool:
    return hop % _DEAD_EACH == _DEAD_EACH - 1


def _pass(
    relay: RelayProcess, hops: int, living: int, logged: int, setting: Setting
) -> tuple[float, float]:
    """Messages a second to the living hops, and CPU ms for each, once `logged` were relayed."""
    messages = _messages(hops, living)
    cpu = cpu_seconds(relay.child.pid)
    started_at = time.monotonic()
    command = (sys.executable, "-m", "benchmarks.scaling.source")
    source = Child(
        (*command, str(relay.port), str(messages), str(hops)),
        setting.folder / "source",
        {"PYTHONPATH": str(CHECKOUT)},
    )
    log = _Log(relay.traffic_log)
    try:
        wait_until(lambda: _is_relayed(log, logged, source), f"{logged} relayed", _LIMIT)
        rate = living / (time.monotonic() - started_at)
        if source.wait(_LIMIT):
            raise AssertionError(source.output)
    finally:
        source.kill()
    return rate, 1000 * (cpu_seconds(relay.child.pid) - cpu) / messages


def _is_relayed(log: "_Log", count: int, source: Child) -> bool:
    if not source.is_running and source.wait():
        raise AssertionError(source.output)
    return log.relayed() >= count


def _messages(hops: int, living: int) -> int:
    """How many must be sent, in turn over all hops, for so many to living ones."""
    sent = relayed = 0
    while relayed < living:
        relayed += not _is_dead(sent % hops)
        sent += 1
    return sent


class _Log:
    """Counts the messages that the traffic log tells relayed, reading each line once."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._begun = b""  # of a line: what is being written may be read at any page of it
        self._count = 0

    def relayed(self) -> int:
        lines, _, self._begun = (self._begun + self._file.read()).rpartition(b"\n")
        self._count += lines.count(b'"event":"relayed"')
        return self._count


ROW = Row(
    "hops",
    "Next hops, a tenth of them dead",
    "next hops",
    (1, 10, 100, 1000, 10_000),
    (1, 10, 100),
    (
        Column("ready", "start, s", 2),
        Column("memory", "memory, MB"),
        Column("first", "relayed/s, sessions opened"),
        Column("further", "relayed/s, sessions kept"),
        Column("cpu", "CPU, ms a message", 3),
    ),
    (
        ("relayed to the living, messages/s", ("first", "further")),
        ("CPU, ms a message", ("cpu",)),
        ("memory (PSS), MB", ("memory",)),
    ),
    measure,
)
