"""relayctl reload: the running relay takes up its changed configuration, or tells why not."""

from pathlib import Path

import click

from relay.admin import tables
from relay.admin.client import ReloadRefused, RunningRelay
from relay.admin.desk import Unusable, open_desk


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.pass_obj
def reload(config: Path, as_json: bool) -> None:
    """Take up the changed configuration without dropping a session.

    It is checked first: with any mistake nothing changes, and every mistake is told.
    """
    with open_desk(config, must_run=True) as desk:
        assert isinstance(desk, RunningRelay)
        try:
            told = desk.reload()
        except ReloadRefused as refusal:
            lines = "\nrelayctl: ".join(str(refusal).splitlines())
            raise Unusable(f"{lines}\nrelayctl: not reloaded, nothing has changed") from None
    if as_json:
        tables.show_json(told)
        return
    for warning in told["warnings"]:
        click.echo(f"warning: {tables.safe(warning)}", err=True)
    for change in told["changes"]:
        click.echo(f"changed: {tables.safe(change)}")
    click.echo(
        "reloaded"
        if told["changes"]
        else "reloaded: no key is another than before; the files that they name were read anew"
    )
