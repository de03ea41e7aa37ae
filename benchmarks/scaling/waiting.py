"""Row 1: more and more messages wait for an upstream that is down."""

import time
from collections.abc import Sequence
from dataclasses import replace

from benchmarks.fill import fill_spool
from benchmarks.load import WORKLOADS, Workload, send
from benchmarks.measure import run_load
from benchmarks.memory import share_megabytes
from benchmarks.scaling.row import Column, Figures, Results, Row, Setting, medians
from benchmarks.scaling.start import start
from tests.interop.peers import SmtpSink
from tests.process.child import free_port
from tests.process.relay_process import RelayProcess, route, upstream

_KEPT: Workload = WORKLOADS[1]
_LOAD = replace(_KEPT, count=5000)

_BY_SMTP = 100_000
"""As many messages come in at the front door; more at a step would take half an hour on a slow
machine, and go straight into the store."""

_FILL_LIMIT = 900.0

_TELLING = 5000
"""Fewer messages than these go by too fast for a rate."""


def measure(steps: Sequence[int], setting: Setting) -> Results:
    """One relay grows; at each step it is measured beside one with an empty queue."""
    sink_port, dead = free_port(), free_port()
    empty, full = (_relay(sink_port, dead, setting) for _ in range(2))
    results: dict[int, Figures] = {}
    waiting = 0
    try:
        for count in steps:
            setting.say(f"filling up to {count:,} waiting")
            filled = _fill(full, count - waiting, setting)
            waiting = count
            rounds = [_round(empty, full, sink_port, setting) for _ in range(setting.rounds)]
            results[count] = {**medians(rounds), **filled, "spool": _octets(full) / 2**20}
    finally:
        empty.clean_up()
        full.clean_up()
    return results


def _relay(living: int, dead: int, setting: Setting) -> RelayProcess:
    return RelayProcess(
        [upstream("living", living), upstream("dead", dead)],
        [route("dead", "*@waiting.example"), route("living")],
        queue={"retry": ["2s", "5s"]},
        parent=setting.folder,
    )


def _fill(relay: RelayProcess, count: int, setting: Setting) -> dict[str, float]:
    """The rate at which mail for the dead upstream was accepted, where that was seen."""
    if count > _BY_SMTP:
        fill_spool(relay, "dead", count, _KEPT.size)
        return {}
    load = replace(_KEPT, count=count, sessions=min(count, _KEPT.sessions))
    relay.start()
    started_at = time.monotonic()
    source = send(load, relay.port, setting.folder, "recipient@waiting.example")
    try:
        if source.wait(_FILL_LIMIT):
            raise AssertionError(source.output)
        rate = count / (time.monotonic() - started_at)
    finally:
        source.kill()
        _stop(relay)
    return {"filled": rate} if count >= _TELLING else {}


def _round(empty: RelayProcess, full: RelayProcess, sink: int, setting: Setting) -> Figures:
    setting.say("beside it, an empty queue")
    without = _one(empty, sink, setting)
    setting.say("with what waits")
    found = _one(full, sink, setting)
    share = 100 * found["relayed"] / without["relayed"]
    return {
        **found,
        "share": share,
        "memory_without": without["memory"],
        "relayed_without": without["relayed"],
        "cpu_without": without["cpu"],
    }


def _one(relay: RelayProcess, sink_port: int, setting: Setting) -> dict[str, float]:
    load = setting.shortened(_LOAD)
    sink = SmtpSink(load.count, port=sink_port)
    try:
        sink.start()
        ready = start(relay)
        figures = run_load(relay.port, relay.child.pid, sink, load, setting.folder)
        memory = share_megabytes(relay.child.pid)
    finally:
        _stop(relay)
        sink.clean_up()
    return {
        "ready": ready,
        "memory": memory,
        "accepted": figures.accepted,
        "relayed": figures.relayed,
        "cpu": figures.cpu,
    }


def _stop(relay: RelayProcess) -> None:
    relay.stop()
    relay.traffic_log.unlink(missing_ok=True)


def _octets(relay: RelayProcess) -> int:
    return sum(path.stat().st_size for path in relay.spool.rglob("*") if path.is_file())


ROW = Row(
    "waiting",
    "Messages that wait for an upstream that is down",
    "messages waiting",
    (1, 100, 10_000, 100_000, 1_000_000),
    (1, 100, 2_000),
    (
        Column("memory", "memory, MB"),
        Column("memory_without", "with none, MB"),
        Column("ready", "start, s", 2),
        Column("filled", "filled at, msg/s"),
        Column("accepted", "accepted/s"),
        Column("relayed", "relayed/s"),
        Column("relayed_without", "with none"),
        Column("share", "share, %"),
        Column("cpu", "CPU, ms", 3),
        Column("cpu_without", "with none", 3),
        Column("spool", "spool, MB"),
    ),
    (
        ("to a living upstream, messages/s", ("relayed", "relayed_without")),
        ("CPU, ms a message", ("cpu", "cpu_without")),
        ("memory (PSS), MB", ("memory", "memory_without")),
    ),
    measure,
)
