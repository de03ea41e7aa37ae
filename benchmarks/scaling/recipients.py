"""Row 4: more and more recipients of each message."""

from collections.abc import Sequence

from benchmarks.load import Workload
from benchmarks.measure import run_load
from benchmarks.memory import share_megabytes
from benchmarks.scaling.row import Column, Figures, Results, Row, Setting, medians
from benchmarks.scaling.start import start
from tests.interop.peers import SmtpSink
from tests.process.relay_process import RelayProcess, upstream

_MESSAGES = {1: 5000, 10: 2000, 100: 300, 1000: 50}

_A_TRANSACTION = 100
"""Recipients that the relay gives an upstream at a time, as it ships."""


def measure(steps: Sequence[int], setting: Setting) -> Results:
    found: dict[int, list[Figures]] = {count: [] for count in steps}
    for number in range(setting.rounds):
        for count in steps:
            setting.say(f"round {number + 1}: {count:,} recipients a message")
            found[count].append(_one(count, setting))
    return {count: medians(rounds) for count, rounds in found.items()}


def _one(recipients: int, setting: Setting) -> Figures:
    load = Workload("", "", _MESSAGES[recipients], 4096, 10, True, recipients)
    load = setting.shortened(load)
    sink = SmtpSink(load.count * -(-recipients // _A_TRANSACTION))
    relay = RelayProcess([upstream("sink", sink.port)], parent=setting.folder)
    try:
        sink.start()
        start(relay)
        figures = run_load(relay.port, relay.child.pid, sink, load, setting.folder)
        memory = share_megabytes(relay.child.pid)
    finally:
        relay.clean_up()
        sink.clean_up()
    return {
        "accepted": figures.accepted,
        "messages": figures.relayed,
        "recipients": figures.relayed * recipients,
        "cpu": 1000 * figures.cpu / recipients,
        "memory": memory,
    }


ROW = Row(
    "recipients",
    "Recipients of a message",
    "recipients a message",
    (1, 10, 100, 1000),
    (1, 10, 100, 1000),
    (
        Column("accepted", "accepted messages/s", 1),
        Column("messages", "relayed messages/s", 1),
        Column("recipients", "relayed recipients/s"),
        Column("cpu", "CPU, µs a recipient"),
        Column("memory", "memory, MB"),
    ),
    (
        ("relayed a second", ("messages", "recipients")),
        ("CPU, µs a recipient", ("cpu",)),
    ),
    measure,
)
