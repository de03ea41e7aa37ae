"""What operators see: tables on a terminal, aligned plain text elsewhere, JSON lines on demand."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from shutil import get_terminal_size
from typing import Any, Literal

import click

from relay.admin.operations import Json

Lanes = Mapping[str, Json]
"""Lanes by name, as the relay tells of them."""

LEAST_FOLDED = 20
"""Characters that a last column needs to be folded; on a narrower terminal lines just run on."""

_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""Characters that Unicode calls printable and that show nothing; variation selectors are others."""

_UNITS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))
_OCTETS = ((1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K"))


def show_json(value: Json) -> None:
    """One object, one line, in ASCII: peers wrote some of it."""
    sys.stdout.write(json.dumps(value, separators=(",", ":")) + "\n")


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Columns that begin with ">" are aligned to the right."""
    cells = [[safe(str(cell)) for cell in row] for row in rows]
    names = [name.removeprefix(">") for name in columns]
    widths = [max(map(len, column)) for column in zip(names, *cells, strict=True)]
    if sys.stdout.isatty() and _is_wide_enough(widths):
        _show_rich(columns, cells)
    else:
        _show_plain(names, cells, widths)


def _is_wide_enough(widths: list[int]) -> bool:
    """For all columns, the last one folded: an id that is cut short is of no use to anybody."""
    return sum(widths[:-1]) + 3 * len(widths) + min(widths[-1], LEAST_FOLDED) <= _terminal_width()


def _terminal_width() -> int:
    return get_terminal_size().columns


def _show_rich(columns: Sequence[str], rows: list[list[str]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for i, name in enumerate(columns, 1):
        justify: Literal["left", "right"] = "right" if name.startswith(">") else "left"
        is_last = i == len(columns)
        table.add_column(
            name.removeprefix(">"), justify=justify, no_wrap=not is_last, overflow="fold"
        )
    for row in rows:
        table.add_row(*map(Text, row))  # never markup: peers wrote some of it
    Console(width=_terminal_width()).print(table)


def _show_plain(columns: Sequence[str], rows: list[list[str]], widths: list[int]) -> None:
    for row in (columns, *rows):
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo(line.rstrip())


def safe(text: str) -> str:
    """Without what could command a terminal or hide text."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(each if _shows(each) else f"\\x{{{ord(each):X}}}" for each in text)


def _shows(character: str) -> bool:
    """On a terminal; a name for what does not is better than nothing to be seen."""
    is_selector = "\ufe00" <= character <= "\ufe0f" or "\U000e0100" <= character <= "\U000e01ef"
    return character.isprintable() and character not in _BLANK and not is_selector


def span(seconds: float) -> str:
    """ "2h13m": the two largest units."""
    left = max(0, round(seconds))
    for i, (unit, letter) in enumerate(_UNITS):
        if left >= unit:
            whole, rest = divmod(left, unit)
            small, small_letter = _UNITS[min(i + 1, 3)]
            part = rest // small if small < unit else 0
            return f"{whole}{letter}{part}{small_letter}" if part else f"{whole}{letter}"
    return "0s"


def octets(number: int) -> str:
    """ "1.5M"."""
    for unit, letter in _OCTETS:
        if number >= unit:
            return f"{number / unit:.1f}".removesuffix(".0") + letter
    return str(number)


def moment(text: str) -> float:
    """Unix seconds of a time from the relay."""
    return datetime.fromisoformat(text).timestamp()


def now() -> float:
    return datetime.now(UTC).timestamp()


# --- what the columns of each table are -------------------------------------------------------

MESSAGE_COLUMNS = ("ID", ">AGE", ">SIZE", "FROM", "TO", "LANE", ">TRIES", "NEXT", "LAST REPLY")
LANE_COLUMNS = ("LANE", ">WAITING", "STATE", "NEXT TRY", "LAST REPLY")


def message_row(message: Json, lanes: Lanes, at: float) -> Sequence[object]:
    owed: list[Json] = [r for r in message["recipients"] if r["next_attempt_at"]]
    first: Json = owed[0] if owed else {}
    more = f" (+{len(owed) - 1})" if len(owed) > 1 else ""
    names = sorted({recipient["lane"] or "(no route)" for recipient in owed})
    return (
        message["id"],
        span(at - moment(message["accepted_at"])),
        octets(message["size"]),
        message["reverse_path"] or "<>",
        f"{first.get('forward_path', '-')}{more}",
        ",".join(names),
        max((recipient["attempt"] for recipient in owed), default=0),
        "held" if message["held"] else _next(owed, lanes, at),
        next((recipient["last_reply"] for recipient in owed if recipient["last_reply"]), ""),
    )


def _next(owed: list[Json], lanes: Lanes, at: float) -> str:
    """When the message's next attempt is: not before its lane's."""
    if any(recipient["state"] == "in_hand" for recipient in owed):
        return "in hand"
    is_routed = [recipient for recipient in owed if recipient["lane"]]
    free = [recipient for recipient in is_routed if not _lane_of(recipient, lanes).get("held")]
    if not free:
        return "lane held" if is_routed else "-"
    if all(_lane_of(recipient, lanes).get("paused") for recipient in free):
        return "lane paused"
    return _when(min(_next_time(recipient, lanes) for recipient in free), at)


def _lane_of(recipient: Json, lanes: Lanes) -> Json:
    return lanes.get(recipient["lane"], {})


def _next_time(recipient: Json, lanes: Lanes) -> float:
    """A failing lane is tried as a whole, whenever its messages are due."""
    due_at = moment(recipient["next_attempt_at"])
    lane_at = _lane_of(recipient, lanes).get("next_attempt_at")
    return max(due_at, moment(lane_at)) if lane_at else due_at


def _when(moment: float, at: float) -> str:
    return f"in {span(moment - at)}" if moment > at else "due"


def lane_row(lane: Json, at: float) -> Sequence[object]:
    mood = "held" if lane["held"] else _mood(lane)
    next_at = lane["next_attempt_at"]
    return (
        lane["name"] or "(no route)",
        lane["waiting"],
        mood if lane["name"] else "kept",
        _when(moment(next_at), at) if next_at and not lane["held"] else "-",
        lane["last_reply"],
    )


def _mood(lane: Json) -> str:
    if not lane["attempt"]:
        return "well"
    word = "paused, login refused" if lane.get("paused") else "failing"
    return f"{word} ({lane['attempt']})"


def show_message(message: Json, lanes: Lanes, at: float) -> None:
    """All there is to know of one message."""
    lines: list[tuple[str, Any]] = [
        ("id", message["id"]),
        ("from", message["reverse_path"] or "<>"),
        ("size", f"{message['size']} octets"),
        ("accepted", f"{message['accepted_at']}, {span(at - moment(message['accepted_at']))} ago"),
        ("expires", message["expires_at"]),
    ]
    if message["held"]:
        lines.append(("held", "yes, until released"))
    for name, value in lines:
        click.echo(f"{name + ':':<10}{safe(str(value))}")
    for recipient in message["recipients"]:
        click.echo(safe(_recipient_line(recipient, message["held"], lanes, at)))
        if recipient["last_reply"]:
            click.echo(safe(f"              {recipient['last_reply']}"))


def _recipient_line(recipient: Json, is_held: bool, lanes: Lanes, at: float) -> str:
    line = f"{'to:':<10}{recipient['forward_path']}: {recipient['state'].replace('_', ' ')}"
    count = recipient["attempt"]
    line += f", lane {recipient['lane'] or '(no route)'}, {count} attempt{'s' * (count != 1)}"
    if recipient["next_attempt_at"] and recipient["state"] == "waiting" and not is_held:
        when = _next([recipient], lanes, at)
        line += f", {when}" if when.startswith("lane ") else f", next {when}"
    return line


def show_status(told: Json, at: float) -> None:
    """Whatever the relay tells: numbers and texts first, then what needs a hand, then the lanes,
    then other lists."""
    for name, value in told.items():
        if not isinstance(value, list | dict):
            click.echo(f"{name.replace('_', ' ') + ':':<20}{safe(str(_plain(value)))}")
    _show_rows(told.get("alarms"))
    click.echo()
    show_table(LANE_COLUMNS, [lane_row(lane, at) for lane in told["lanes"]])
    for name, value in told.items():
        if name not in ("alarms", "lanes"):
            _show_rows(value)


def _show_rows(value: object) -> None:
    """A list of objects that have the same keys. Of anything else, nothing."""
    if not isinstance(value, list) or not value:
        return
    columns = list(value[0])
    click.echo()
    headings = [column.replace("_", " ").upper() for column in columns]
    show_table(headings, [[_plain(row.get(column, "")) for column in columns] for row in value])


def _plain(value: object) -> object:
    return ("no", "yes")[value] if isinstance(value, bool) else value
