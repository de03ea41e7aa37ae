"""Row 2: more and more sessions are open and silent."""

import socket
import time
from collections.abc import Sequence
from dataclasses import replace

from benchmarks.load import WORKLOADS
from benchmarks.measure import run_load
from benchmarks.memory import share_megabytes
from benchmarks.scaling.row import Column, Figures, Results, Row, Setting, medians
from benchmarks.scaling.start import start
from tests.interop.peers import SmtpSink
from tests.process.child import free_port
from tests.process.relay_process import RelayProcess, upstream

_LOAD = replace(WORKLOADS[0], count=3000)

_MOST = 10_000
"""The listener's limits, of all and of one client."""

_REPLY_LIMIT = 30.0


def measure(steps: Sequence[int], setting: Setting) -> Results:
    sink_port = free_port()
    relay = RelayProcess(
        [upstream("sink", sink_port)],
        listener={"max_connections": _MOST, "max_connections_per_client": _MOST},
        parent=setting.folder,
    )
    try:
        start(relay)
        memory = _memory(relay, steps, setting)
        found: dict[int, list[Figures]] = {count: [] for count in steps}
        for number in range(setting.rounds):
            for count in steps:
                setting.say(f"round {number + 1}: a load beside {count:,} sessions")
                found[count].append(_loaded(relay, sink_port, count, setting))
    finally:
        relay.clean_up()
    return {count: {**memory[count], **medians(found[count])} for count in steps}


def _memory(relay: RelayProcess, steps: Sequence[int], setting: Setting) -> dict[int, Figures]:
    """Before any mail, so that nothing else is in it."""
    idle: list[socket.socket] = []
    before = share_megabytes(relay.child.pid)
    figures: dict[int, Figures] = {}
    try:
        for count in steps:
            setting.say(f"{count:,} sessions open")
            more = count - len(idle)
            started_at = time.monotonic()
            _open(relay.port, more, idle)
            rate = more / (time.monotonic() - started_at)
            memory = share_megabytes(relay.child.pid)
            each = 1024 * (memory - before) / count
            figures[count] = {"memory": memory, "each": each, "opened": rate}
    finally:
        _close(idle)
    return figures


def _loaded(relay: RelayProcess, sink_port: int, count: int, setting: Setting) -> Figures:
    load = setting.shortened(_LOAD)
    sink = SmtpSink(load.count, port=sink_port)
    idle: list[socket.socket] = []
    try:
        sink.start()
        _open(relay.port, count, idle)
        figures = run_load(relay.port, relay.child.pid, sink, load, setting.folder)
    finally:
        _close(idle)
        sink.clean_up()
    return {"relayed": figures.relayed, "cpu": figures.cpu}


def _open(port: int, count: int, idle: list[socket.socket]) -> None:
    """Each as a client that said EHLO and then nothing."""
    for _ in range(count):
        client = socket.create_connection(("127.0.0.1", port), timeout=_REPLY_LIMIT)
        idle.append(client)
        _reply(client, b"220 ")
        client.sendall(b"EHLO client.example.net\r\n")
        _reply(client, b"250 ")


def _reply(client: socket.socket, last_line: bytes) -> None:
    text = b""
    while not text.endswith(b"\r\n") or not text.splitlines()[-1].startswith(last_line):
        more = client.recv(4096)
        if not more:
            raise AssertionError(f"the relay closed a session after {text!r}")
        text += more


def _close(idle: list[socket.socket]) -> None:
    while idle:
        idle.pop().close()


ROW = Row(
    "sessions",
    "Sessions that are open and silent",
    "open idle sessions",
    (1, 10, 100, 1000, 5000),
    (1, 10, 100),
    (
        Column("memory", "memory, MB", 1),
        Column("each", "KiB a session", 1),
        Column("opened", "opened/s"),
        Column("relayed", "relayed/s beside them"),
        Column("cpu", "CPU, ms a message", 3),
    ),
    (
        ("memory (PSS), MB", ("memory",)),
        ("relayed beside them, messages/s", ("relayed",)),
        ("CPU, ms a message", ("cpu",)),
    ),
    measure,
)
