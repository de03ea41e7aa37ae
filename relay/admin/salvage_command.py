"""relayctl salvage: what can still be read of a damaged queue, as a new one."""

import shutil
from dataclasses import asdict
from pathlib import Path

import click

from relay.admin import tables
from relay.admin.desk import Failed, read_config
from relay.queue.open_store import spool_of
from relay.queue.salvage import NothingLeft, Salvaged, salvage
from relay.queue.spool import folders_of
from relay.queue.store import StoreUnusable

_NAMED = 1000
"""Ids that are told at the most."""


@click.command("salvage")
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.pass_obj
def salvage_command(config: Path, directory: Path, as_json: bool) -> None:
    """Save what can be read of a damaged queue to DIRECTORY, a new one.

    The relay must not run. The damaged queue is only read. Afterwards look at what is told, move
    the old spool away and DIRECTORY into its place. Ends with 1 where anything was or may be lost.
    """
    spool = spool_of(read_config(config).queue.store)
    if spool is None:
        raise Failed("the queue is not one of files: there is nothing to salvage")
    if directory.exists():
        raise Failed(f"{directory} exists: name a directory that does not, on a disk that is well")
    found = Salvaged()
    try:
        for number in folders_of(spool):
            _add(found, spool, number, directory)
    except (StoreUnusable, OSError) as error:
        shutil.rmtree(directory, ignore_errors=True)  # it was not there before
        raise Failed(str(error)) from None
    if not found.saved:
        shutil.rmtree(directory, ignore_errors=True)
    if as_json:
        tables.show_json(asdict(found))
    else:
        _show(found, spool, directory)
    if found.lost or not found.is_whole:
        raise SystemExit(1)


def _add(found: Salvaged, spool: Path, number: int, directory: Path) -> None:
    """What is left of one worker's queue."""
    try:
        part = salvage(spool, number, directory)
    except NothingLeft as error:
        click.echo(f"relayctl: {error}", err=True)
        found.is_whole = False
        return
    found.saved += part.saved
    found.held += part.held
    found.lost += part.lost
    found.is_whole = found.is_whole and part.is_whole


def _show(found: Salvaged, spool: Path, directory: Path) -> None:
    if found.saved:
        click.echo(f"saved: {len(found.saved)} messages, in {directory}")
    if found.held:
        click.echo(
            f"of these held: {len(found.held)}, since who has them already could not be read;"
            f" release or remove them: {' '.join(found.held[:_NAMED])}"
        )
    if found.lost:
        click.echo(
            f"lost: {len(found.lost)} that left a trace; the traffic log tells whose they were:"
            f" {' '.join(found.lost[:_NAMED])}"
        )
    if not found.is_whole:
        click.echo("some of the database could not be read: there may have been more messages")
    if not found.saved:
        is_empty = found.is_whole and not found.lost
        advice = "no message is in it" if is_empty else f"keep {spool}, restore it from a backup"
        click.echo(f"nothing was saved: {advice}")
        return
    click.echo(f"what left no trace is not counted. Next: mv {spool} {spool}.damaged;")
    click.echo(f"mv {directory} {spool}; give it to the relay's user (chown -R)")
