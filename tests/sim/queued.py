"""What is in the queue, read from a disk by SQL alone: with none of the relay's own code."""

import json
import re
from dataclasses import dataclass, field

import apsw

from tests.sim.disk import Disk
from tests.sim.filesystem import VFS

DATABASE = "spool/0/queue.db"
CONTENT = "spool/0/content/"
TABLES = ("message", "content", "work", "done")


@dataclass
class Queued:
    """`owed`: forward-path to queue number. `dsns`: queue id to the recipients it says failed.
    `rows`: how many each table has."""

    owed: dict[str, int] = field(default_factory=dict)
    contents: dict[int, bytes | None] = field(default_factory=dict)
    dsns: dict[str, tuple[str, ...]] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)


def read_queue(disk: Disk, root: str) -> Queued:
    """Of a disk that nobody else uses; `root` is the folder by which the VFS knows it."""
    queued = Queued()
    if f"/disk/{DATABASE}" not in disk.names:
        return queued
    database = apsw.Connection(f"{root}/{DATABASE}", vfs=VFS)
    try:
        database.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        database.execute("PRAGMA locking_mode=EXCLUSIVE").fetchall()
        if database.pragma("user_version"):
            _read(queued, database, disk)
    finally:
        database.close()
    return queued


def _read(queued: Queued, database: apsw.Connection, disk: Disk) -> None:
    counts = ", ".join(f"(SELECT count(*) FROM {table})" for table in TABLES)
    queued.rows.update(zip(TABLES, database.execute(f"SELECT {counts}").get, strict=True))
    for number, reverse_path, recipients, in_file, octets, owed in database.execute(
        "SELECT id, reverse_path, recipients, in_file, octets, owed FROM message"
        " JOIN work ON work.message = id LEFT JOIN content ON content.message = id"
    ):
        queue_id = queue_id_from(number)
        if in_file:
            inode = disk.names.get(f"/disk/{CONTENT}{queue_id}")
            octets = None if inode is None else bytes(inode.octets)
        queued.contents[number] = octets
        ids = None if owed is None else {each[0] for each in json.loads(owed)}
        for recipient in json.loads(recipients):
            if ids is None or recipient[0] in ids:
                queued.owed[recipient[1]] = number
        if not reverse_path and octets is not None:
            failed = re.findall(
                rb"^Final-Recipient: [^;]+; *(\S+)\r\nAction: failed\r$", octets, re.M
            )
            if failed:
                queued.dsns[queue_id] = tuple(path.decode() for path in failed)


def content_files(disk: Disk) -> int:
    """How many lie there."""
    return sum(path.startswith(f"/disk/{CONTENT}") for path in disk.names)


def queue_id_from(number: int) -> str:
    """13 digits of base 32, the highest first."""
    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUV"
    return "".join(digits[number >> shift & 31] for shift in range(60, -1, -5))
