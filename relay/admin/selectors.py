"""SELECTOR on the command line: queue ids, or conditions that all must hold."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

import click

from relay.config.values import duration
from relay.queue.store import Selection


@dataclass(frozen=True, slots=True)
class Chosen:
    """What was selected. `is_all`: --all, everything there is."""

    selection: Selection
    is_all: bool

    @property
    def is_given(self) -> bool:
        return self.is_all or self.selection != Selection()


def _age(context: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    try:
        return None if value is None else duration(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


_OPTIONS = (
    click.argument("ids", nargs=-1, metavar="[ID]..."),
    click.option("--all", "is_all", is_flag=True, help="Every message."),
    click.option("--lane", metavar="NAME", help="Waiting for this next hop."),
    click.option("--sender", metavar="GLOB", help="Reverse-path; '<>' is the null one."),
    click.option("--recipient", metavar="GLOB", help="A recipient still owed."),
    click.option(
        "--older-than",
        metavar="TIME",
        callback=_age,
        help="Accepted longer ago than e.g. 30m, 2h, 3d.",
    ),
)


def selector(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the options; the command gets `chosen`."""

    @wraps(command)
    def with_chosen(
        *args: Any,
        ids: tuple[str, ...],
        is_all: bool,
        lane: str | None,
        sender: str | None,
        recipient: str | None,
        older_than: float | None,
        **kwargs: Any,
    ) -> None:
        before = None if older_than is None else time.time() - older_than
        queue_ids = tuple(dict.fromkeys(queue_id.upper() for queue_id in ids))
        selection = Selection(queue_ids, lane, sender, recipient, before)
        if is_all and selection != Selection():
            raise click.UsageError("--all means every message: leave the other selectors out")
        command(*args, chosen=Chosen(selection, is_all), **kwargs)

    for option in reversed(_OPTIONS):
        with_chosen = option(with_chosen)
    return with_chosen
