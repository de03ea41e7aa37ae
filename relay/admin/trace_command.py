"""relayctl trace: what the traffic log tells of a queue id, an address, a client, a session."""

import sys
from collections.abc import Iterator
from pathlib import Path

import click
import orjson

from relay.admin import tables
from relay.admin.desk import Failed, read_config
from relay.admin.operations import Json

_FIRST = ("time", "event")


@click.command()
@click.argument("text")
@click.option("--json", "as_json", is_flag=True, help="The log's own lines.")
@click.pass_obj
def trace(config: Path, text: str, as_json: bool) -> None:
    """Lines of the traffic log that hold TEXT, with all lines of the messages they are about."""
    log = read_config(config).traffic_log
    if log is None or log.file == "-":
        raise Failed("the configuration names no file for the traffic log")
    file = Path(log.file)
    lines = list(_lines(file, text))
    for line, fact in lines:
        if as_json:
            sys.stdout.buffer.write(line)
        else:
            click.echo(_readable(fact))
    if not lines:
        raise Failed(f"nothing about {text!r} in {file}; older logs may have been rotated away")


def _lines(file: Path, text: str) -> Iterator[tuple[bytes, Json]]:
    """Those that hold the text, and all others of the messages they are about."""
    try:
        ids = {fact["queue_id"] for _, fact in _matching(file, [text]) if "queue_id" in fact}
        yield from _matching(file, [text, *ids])
    except OSError as error:
        raise Failed(f"{file} cannot be read: {error.strerror}") from None


def _matching(file: Path, texts: list[str]) -> Iterator[tuple[bytes, Json]]:
    """The log is ASCII JSON; a search as if case did not matter is what operators expect."""
    wanted = [orjson.dumps(text.lower())[1:-1] for text in texts]
    with file.open("rb") as lines:
        for line in lines:
            lower = line.lower()
            if any(each in lower for each in wanted):
                try:
                    fact = orjson.loads(line)
                except orjson.JSONDecodeError:  # the last line, half written
                    continue
                if isinstance(fact, dict):
                    yield line, fact


def _readable(fact: Json) -> str:
    rest = " ".join(f"{key}={_value(value)}" for key, value in fact.items() if key not in _FIRST)
    return tables.safe(f"{fact.get('time', '-')}  {fact.get('event', '-'):<9} {rest}")


def _value(value: object) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return repr(value) if isinstance(value, str) and " " in value else str(value)
