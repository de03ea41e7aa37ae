"""relayctl trace: what the traffic log tells of a queue id, an address, a client, a session."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import orjson

from relay.admin import tables
from relay.admin.desk import Failed, read_config
from relay.admin.operations import Json

_FIRST = ("time", "event")
_QUEUE_ID = re.compile(rb'"queue_id":"([0-9A-Z]+)"')


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
    is_found = False
    for line in _lines(file, text):
        is_found = True
        if as_json:
            sys.stdout.buffer.write(line)
        else:
            click.echo(_readable(orjson.loads(line)))
    if not is_found:
        raise Failed(f"nothing about {text!r} in {file}; older logs may have been rotated away")


def _lines(file: Path, text: str) -> Iterator[bytes]:
    """Those that hold the text, and all others of the messages they are about."""
    wanted = json.dumps(text.lower())[1:-1].encode()  # as in the log, which is ASCII
    try:
        with file.open("rb") as log:
            ids = {_queue_id(line) for line in log if wanted in line.lower()} - {b""}
            log.seek(0)
            for line in log:
                is_whole = line.endswith(b"}\n")  # the last may be half written
                if is_whole and (wanted in line.lower() or _queue_id(line) in ids):
                    yield line
    except OSError as error:
        raise Failed(f"{file} cannot be read: {error.strerror}") from None


def _queue_id(line: bytes) -> bytes:
    found = _QUEUE_ID.search(line)
    return found[1] if found else b""


def _readable(fact: Json) -> str:
    rest = " ".join(f"{key}={_value(value)}" for key, value in fact.items() if key not in _FIRST)
    return tables.safe(f"{fact.get('time', '-')}  {fact.get('event', '-'):<9} {rest}")


def _value(value: object) -> str:
    if isinstance(value, list):
        return ",".join(map(_value, value))
    return repr(value) if isinstance(value, str) and " " in value else str(value)
