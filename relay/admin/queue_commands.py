"""relayctl queue ...: what waits, and what to do about it."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from relay.admin import tables
from relay.admin.desk import Desk, Failed, open_desk
from relay.admin.operations import PAGE, Json
from relay.admin.selectors import Chosen, selector
from relay.queue.store import Selection

FIRST_MESSAGES = 50
"""What `queue list` shows unless told otherwise."""

_DONE = {"retry": "due now", "hold": "held", "release": "released", "remove": "removed"}

_json = click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")


@click.group()
def queue() -> None:
    """Waiting messages. SELECTOR: ids, --all, or conditions that all must hold."""


@queue.command("list")
@selector
@click.option(
    "--limit", type=click.IntRange(1), help=f"How many; default {FIRST_MESSAGES}, --json: all."
)
@click.option("--after", default="", metavar="ID", help="Go on behind this one.")
@_json
@click.pass_obj
def list_(config: Path, chosen: Chosen, limit: int | None, after: str, as_json: bool) -> None:
    """What waits, the oldest first."""
    if limit is None and not as_json:
        limit = FIRST_MESSAGES
    with open_desk(config) as desk:
        pages = _pages(desk, chosen.selection, after.upper(), limit)
        if as_json:
            for page in pages:
                for message in page["messages"]:
                    tables.show_json(message)
        else:
            _show_list(pages, _lanes(desk))


def _lanes(desk: Desk) -> tables.Lanes:
    return {lane["name"]: lane for lane in desk.lanes()}


def _show_list(pages: Iterator[Json], lanes: tables.Lanes) -> None:
    at = tables.now()
    page: Json | None = None
    for page in pages:
        rows = [tables.message_row(message, lanes, at) for message in page["messages"]]
        tables.show_table(tables.MESSAGE_COLUMNS, rows)
    if page is None:
        click.echo("no message waits that matches", err=True)
    elif page["after"] is not None:
        click.echo(f"more: --after {page['after']}", err=True)


def _pages(desk: Desk, selection: Selection, after: str, limit: int | None) -> Iterator[Json]:
    """Pages with messages, until the end or until `limit` messages."""
    at: str | None = after
    left = limit
    while at is not None and left != 0:
        wanted = PAGE if left is None else min(PAGE, left)
        page = desk.page(selection, at, wanted)
        if page["messages"]:
            yield page
        at = page["after"]
        left = None if left is None else left - len(page["messages"])


@queue.command()
@selector
@_json
@click.pass_obj
def show(config: Path, chosen: Chosen, as_json: bool) -> None:
    """Everything about messages, with the last reply for each recipient."""
    _check_given(chosen, "show")
    found: list[str] = []
    with open_desk(config) as desk:
        lanes = {} if as_json else _lanes(desk)
        for part in _parts(chosen.selection):
            for page in _pages(desk, part, "", None):
                for message in page["messages"]:
                    if as_json:
                        tables.show_json(message)
                    else:
                        if found:
                            click.echo()
                        tables.show_message(message, lanes, tables.now())
                    found.append(message["id"])
    _check_found(chosen.selection, found, len(found))


def _command(verb: str, about: str) -> None:
    @queue.command(verb, help=about)
    @selector
    @_json
    @click.option("--yes", is_flag=True, help="Do not ask before removing everything.")
    @click.pass_obj
    def act(config: Path, chosen: Chosen, as_json: bool, yes: bool) -> None:
        _check_given(chosen, verb)
        if verb == "remove" and chosen.is_all and not yes:
            _confirm()
        with open_desk(config) as desk:
            _act(desk, verb, chosen, as_json)

    if verb != "remove":
        act.params = [option for option in act.params if option.name != "yes"]
        inner: Any = act.callback
        act.callback = lambda **values: inner(**values, yes=False)


_command("retry", "Try now: the messages are due at once, and a failing lane is probed at once.")
_command("hold", "Stop attempts until released. What is under way is finished.")
_command("release", "End the hold; the messages are due at once.")
_command("remove", "Throw away. Nobody is told: no DSN is sent.")


def _confirm() -> None:
    if not sys.stdin.isatty():
        raise click.UsageError("remove --all needs --yes where nobody can be asked")
    click.confirm("Remove every message in the queue, and tell no sender?", abort=True, err=True)


def _act(desk: Desk, verb: str, chosen: Chosen, as_json: bool) -> None:
    """Page by page, with what was accepted up to now: new mail is not chased."""
    selection = chosen.selection
    is_open = not selection.queue_ids and selection.accepted_before is None
    done: list[str] = []
    count = 0
    with _progress(verb) as tell:
        for part in _parts(selection):
            after: str | None = ""
            while after is not None:
                answer = desk.act(verb, part, after)
                after = answer["after"]
                if is_open:
                    part, is_open = replace(part, accepted_before=answer["at"]), False
                count += len(answer["done"])
                tell(count)
                if as_json:
                    for queue_id in answer["done"]:
                        tables.show_json({"id": queue_id, "done": verb})
                if selection.queue_ids:
                    done += answer["done"]
    if not as_json and count:
        click.echo(f"{_DONE[verb]}: {count} message{'s' if count != 1 else ''}")
    _check_found(selection, done, count, " (or not held)" if verb == "release" else "")


@contextmanager
def _progress(verb: str) -> Iterator[Any]:
    """Tells how many are done, on a terminal."""
    if not sys.stderr.isatty():
        yield lambda count: None
        return
    from rich.console import Console

    with Console(stderr=True).status(f"{verb} ...") as shown:
        yield lambda count: shown.update(f"{verb}: {count} done")


def _parts(selection: Selection) -> Iterator[Selection]:
    """Named ids, as many at a time as a call may name."""
    ids = selection.queue_ids
    if not ids:
        yield selection
    for start in range(0, len(ids), PAGE):
        yield replace(selection, queue_ids=ids[start : start + PAGE])


def _check_given(chosen: Chosen, verb: str) -> None:
    if not chosen.is_given:
        raise click.UsageError(
            f"{verb} what? Name ids, or select by --lane, --sender, --recipient, --older-than;"
            " --all means every message"
        )


def _check_found(selection: Selection, found: Sequence[str], count: int, hint: str = "") -> None:
    missing = [queue_id for queue_id in selection.queue_ids if queue_id not in set(found)]
    if missing:
        raise Failed(f"not found{hint}: {', '.join(missing)}")
    if not count:
        raise Failed(f"no message matches{hint}")
