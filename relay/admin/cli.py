"""relayctl: the operators' commands. This file holds the group, `status` and the way in."""

import sys
from pathlib import Path

import click

from relay.admin import tables
from relay.admin.check_command import check
from relay.admin.desk import open_desk
from relay.admin.lane_commands import lane
from relay.admin.queue_commands import queue
from relay.admin.reload_command import reload
from relay.admin.salvage_command import salvage_command
from relay.admin.send_command import send
from relay.admin.trace_command import trace
from relay.admin.user_commands import user

DEFAULT_CONFIG = "/etc/relay/relay.toml"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    "-c",
    type=click.Path(path_type=Path),
    default=DEFAULT_CONFIG,
    envvar="RELAY_CONFIG",
    show_default=True,
    show_envvar=True,
    help="The relay's configuration file.",
)
@click.version_option(package_name="relay", prog_name="relayctl")
@click.pass_context
def relayctl(context: click.Context, config: Path) -> None:
    """Look after a relay: its queue, its lanes, its configuration.

    Talks to the running relay; when none runs, the queue and lane commands open the queue
    themselves. Ends with 0 when it was done, 1 when it failed or nothing was found, 2 for a mistake
    in the command or the configuration.
    """
    context.obj = config


@relayctl.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.pass_obj
def status(config: Path, as_json: bool) -> None:
    """How the running relay does."""
    with open_desk(config, must_run=True) as desk:
        told = desk.status()
    if as_json:
        tables.show_json(told)
    else:
        tables.show_status(told, tables.now())


for command in (check, lane, queue, reload, salvage_command, send, trace, user):
    relayctl.add_command(command)


def main() -> None:
    """The console script's entry."""
    try:
        relayctl.main(prog_name="relayctl")
    except BrokenPipeError:  # "| head" has seen enough
        sys.stderr.close()
        raise SystemExit(0) from None
