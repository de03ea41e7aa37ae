"""relayctl lane ...: next hops and their waiting lines."""

from pathlib import Path

import click

from relay.admin import tables
from relay.admin.desk import Failed, open_desk

_json = click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")


@click.group()
def lane() -> None:
    """Next hops, and the lines that wait for them."""


@lane.command("list")
@_json
@click.pass_obj
def list_(config: Path, as_json: bool) -> None:
    """How each next hop does, and how much waits for it."""
    with open_desk(config) as desk:
        found = desk.lanes()
    if as_json:
        for state in found:
            tables.show_json(state)
    else:
        at = tables.now()
        tables.show_table(tables.LANE_COLUMNS, [tables.lane_row(state, at) for state in found])


@lane.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@_json
@click.pass_obj
def hold(config: Path, names: tuple[str, ...], as_json: bool) -> None:
    """Stop all attempts at a next hop; its mail waits, and does not expire."""
    _act(config, "hold", names, as_json)


@lane.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@_json
@click.pass_obj
def release(config: Path, names: tuple[str, ...], as_json: bool) -> None:
    """Go on with a next hop, beginning now."""
    _act(config, "release", names, as_json)


def _act(config: Path, verb: str, names: tuple[str, ...], as_json: bool) -> None:
    missing = []
    with open_desk(config) as desk:
        for name in names:
            if not desk.act_on_lane(verb, name):
                missing.append(name)
            elif as_json:
                tables.show_json({"lane": name, "done": verb})
            else:
                click.echo(f"lane {tables.safe(name)} {'held' if verb == 'hold' else 'released'}")
    if missing:
        raise Failed(f"there is no lane {', '.join(missing)}; see: relayctl lane list")
