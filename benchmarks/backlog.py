"""What a huge backlog for a dead upstream costs the mail to a living one. `make bench-backlog`."""

import json
import smtplib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import click
from rich.console import Console
from rich.table import Table

from benchmarks.fill import fill_spool
from benchmarks.load import WORKLOADS, Workload, send
from benchmarks.measure import RUN_LIMIT
from benchmarks.memory import resident_megabytes
from tests.interop.peers import SmtpSink
from tests.process.child import free_port, wait_until
from tests.process.relay_process import RelayProcess, route, upstream

_SIZE = 2048
"""Octets of a message that waits."""

_START_LIMIT = 120.0

Figures = dict[str, float]


@click.command()
@click.option("--count", default=200_000, show_default=True, type=click.IntRange(1))
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1, 50))
@click.option("--json", "is_json", is_flag=True, help="One object instead of a table.")
@click.option(
    "--directory",
    default="/var/tmp",
    show_default=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where the spools lie.",
)
def main(count: int, rounds: int, is_json: bool, directory: Path) -> None:
    """A relay with COUNT messages waiting, beside one with none."""
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="relay-backlog-", dir=directory) as name:
        folder = Path(name)
        folder.chmod(0o755)
        with console.status("filling the spool") as status:
            figures = _measure(count, rounds, folder, status.update)
    if is_json:
        print(json.dumps({"waiting": count, **figures}))
    else:
        _print_table(count, figures)


def _measure(count: int, rounds: int, folder: Path, say: Callable[[str], None]) -> Figures:
    sinks, dead = free_port(), free_port()
    empty, full = (_relay(sinks, dead, folder) for _ in range(2))
    try:
        fill_spool(full, "dead", count, _SIZE)
        found: list[Figures] = []
        for number in range(1, rounds + 1):
            say(f"round {number} of {rounds}: without a backlog")
            without = _round(empty, sinks, folder)
            say(f"round {number} of {rounds}: with {count:,} waiting")
            with_backlog = _round(full, sinks, folder)
            found.append(
                {**with_backlog, "rate_without": without["rate"], "rss_without": without["rss"]}
            )
    finally:
        empty.clean_up()
        full.clean_up()
    return {key: median(figures[key] for figures in found) for key in found[0]}


def _relay(living: int, dead: int, folder: Path) -> RelayProcess:
    return RelayProcess(
        [upstream("living", living), upstream("dead", dead)],
        [route("dead", "*@waiting.example"), route("living")],
        queue={"retry": ["2s", "5s"]},
        parent=folder,
    )


def _round(relay: RelayProcess, sink_port: int, folder: Path) -> Figures:
    load = WORKLOADS[0]
    sink = SmtpSink(load.count, port=sink_port)
    try:
        sink.start()
        ready_after = _start(relay)
        relay.wait_for(1, "delayed")
        listed_after = _time_of_list(relay)
        rate = _rate(relay, sink, load, folder)
        rss = resident_megabytes(relay.child.pid)
        return {"ready_after": ready_after, "listed_after": listed_after, "rate": rate, "rss": rss}
    finally:
        relay.stop()
        relay.traffic_log.unlink(missing_ok=True)
        sink.clean_up()


def _start(relay: RelayProcess) -> float:
    """Seconds from the start of the process to the 250 for one more waiting message."""
    started_at = time.monotonic()
    relay.launch()
    wait_until(lambda: _accepts(relay), "first 250", _START_LIMIT)
    return time.monotonic() - started_at


def _accepts(relay: RelayProcess) -> bool:
    if not relay.child.is_running:
        raise AssertionError(f"the relay ended:\n{relay.child.output}")
    try:
        with smtplib.SMTP("127.0.0.1", relay.port, timeout=_START_LIMIT) as session:
            session.sendmail("sender@example.net", "one@waiting.example", b"Subject: one\r\n\r\n")
    except ConnectionRefusedError:
        return False
    return True


def _time_of_list(relay: RelayProcess) -> float:
    started_at = time.monotonic()
    done = relay.relayctl("queue", "list")
    if done.returncode:
        raise AssertionError(done.stderr)
    return time.monotonic() - started_at


def _rate(relay: RelayProcess, sink: SmtpSink, load: Workload, folder: Path) -> float:
    started_at = time.monotonic()
    source = send(load, relay.port, folder)
    try:
        return load.count / (sink.wait(RUN_LIMIT) - started_at)
    finally:
        source.kill()


def _print_table(count: int, figures: Figures) -> None:
    table = Table(title=f"{count:,} messages wait for an upstream that is down")
    table.add_column("")
    table.add_column("without", justify="right")
    table.add_column("with", justify="right")
    table.add_row("memory, MB", f"{figures['rss_without']:.0f}", f"{figures['rss']:.0f}")
    table.add_row("start to first 250, s", "", f"{figures['ready_after']:.2f}")
    table.add_row("relayctl queue list, s", "", f"{figures['listed_after']:.2f}")
    without, rate = figures["rate_without"], figures["rate"]
    table.add_row("to another upstream, messages/s", f"{without:,.0f}", f"{rate:,.0f}")
    table.add_row("share kept", "", f"{rate / without:.0%}")
    Console().print(table)


if __name__ == "__main__":
    main()
