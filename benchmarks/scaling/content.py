"""Row 5: larger and larger content."""

from collections.abc import Sequence

from benchmarks.load import Workload
from benchmarks.measure import run_load
from benchmarks.memory import peak_megabytes
from benchmarks.scaling.row import Column, Figures, Results, Row, Setting, medians
from benchmarks.scaling.start import start
from tests.interop.peers import SmtpSink
from tests.process.relay_process import RelayProcess, upstream

_KIB, _MIB = 2**10, 2**20

_MESSAGES = {_KIB: 5000, 16 * _KIB: 3000, 128 * _KIB: 1000, _MIB: 200, 10 * _MIB: 30}
_MESSAGES |= {100 * _MIB: 10}

_SESSIONS = 10
"""At a time, whatever the size: the same number of messages is in the relay's hands."""


def measure(steps: Sequence[int], setting: Setting) -> Results:
    found: dict[int, list[Figures]] = {size: [] for size in steps}
    for number in range(setting.rounds):
        for size in steps:
            setting.say(f"round {number + 1}: {_text(size)}")
            found[size].append(_one(size, setting))
    return {size: medians(rounds) for size, rounds in found.items()}


def _one(size: int, setting: Setting) -> Figures:
    load = setting.shortened(Workload("", "", _MESSAGES[size], size, _SESSIONS))
    sink = SmtpSink(load.count)
    relay = RelayProcess(
        [upstream("sink", sink.port)],
        listener={"max_message_size": "200M"},
        parent=setting.folder,
    )
    try:
        sink.start()
        start(relay)
        figures = run_load(relay.port, relay.child.pid, sink, load, setting.folder)
        peak = peak_megabytes(relay.child.pid)
    finally:
        relay.clean_up()
        sink.clean_up()
    megabytes = size / 1e6
    return {
        "messages": figures.relayed,
        "accepted": figures.accepted * megabytes,
        "relayed": figures.relayed * megabytes,
        "cpu": figures.cpu / megabytes,
        "peak": peak,
    }


def _text(size: int) -> str:
    return f"{size // _MIB} MiB" if size >= _MIB else f"{size // _KIB} KiB"


ROW = Row(
    "content",
    "Size of the content",
    "octets of content",
    tuple(_MESSAGES),
    (_KIB, 128 * _KIB, _MIB, 10 * _MIB),
    (
        Column("messages", "relayed messages/s", 1),
        Column("accepted", "accepted MB/s", 1),
        Column("relayed", "relayed MB/s", 1),
        Column("cpu", "CPU, ms a MB", 1),
        Column("peak", "peak memory, MB"),
    ),
    (
        ("MB/s", ("accepted", "relayed")),
        ("peak memory (RSS), MB", ("peak",)),
    ),
    measure,
    _text,
)
