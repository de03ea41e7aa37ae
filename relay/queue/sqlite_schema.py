"""The SQLite database's tables, its settings, and how it is opened and versioned.

Rows of `message` never change while mail flows and stay small: content lies in a table of its own
(or in a file), what is owed in `work`. What settings were measured against: docs/queue.rst.
"""

from pathlib import Path

import apsw

from relay.queue.store import StoreFailed, StoreUnusable

VERSION = 3
"""PRAGMA user_version of the tables below."""

PAGE_SIZE = 4096
"""Octets. Larger pages waste up to half of themselves on content of 4 KiB."""

CACHE_SIZE = 16 * 2**20
"""Octets of pages kept in memory: the hot ends of all indexes; the system caches the rest."""

CHECKPOINT_PAGES = 4000
"""Pages in the write-ahead log (16 MiB) at which they are moved to the database."""

_STATEMENT_CACHE = 400
"""Every INSERT has a variant for each number of rows up to 64."""

_TABLES = """
CREATE TABLE meta (start_number INTEGER NOT NULL);
INSERT INTO meta VALUES (0);

CREATE TABLE message (
    id INTEGER PRIMARY KEY,           -- the queue id as a number: sorts by time
    reverse_path TEXT NOT NULL,
    recipients TEXT NOT NULL,         -- JSON: [[id, forward_path, notify, orcpt], ...]
    body TEXT NOT NULL,
    smtputf8 INTEGER NOT NULL,
    ret TEXT NOT NULL,
    envid TEXT NOT NULL,
    listener TEXT NOT NULL,
    client TEXT NOT NULL,
    helo TEXT NOT NULL,
    user TEXT NOT NULL,
    session TEXT NOT NULL,
    name TEXT NOT NULL DEFAULT '',
    protocol TEXT NOT NULL DEFAULT '',
    accepted_at REAL NOT NULL,        -- unix seconds, as all times
    size INTEGER NOT NULL,            -- octets of content
    in_file INTEGER NOT NULL,         -- 1: content is the file content/ID, 0: in table content
    is_held INTEGER NOT NULL DEFAULT 0,
    requires_tls INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX message_in_file ON message (id) WHERE in_file;

CREATE TABLE content (
    message INTEGER PRIMARY KEY,
    octets BLOB NOT NULL
);

CREATE TABLE work (
    message INTEGER NOT NULL,
    lane TEXT NOT NULL,               -- '': no route leads there
    next_attempt_at REAL NOT NULL DEFAULT 0,
    attempt INTEGER NOT NULL DEFAULT 0,
    is_held INTEGER NOT NULL DEFAULT 0,    -- as its message
    is_warned INTEGER NOT NULL DEFAULT 0,  -- the delay warning was sent
    is_graced INTEGER NOT NULL DEFAULT 0,  -- an operator asked: one attempt before expiry
    owed TEXT,                        -- JSON: [[recipient, last reply], ...]; NULL: all, untried
    PRIMARY KEY (message, lane)
) WITHOUT ROWID;
CREATE INDEX work_due ON work (lane, is_held, next_attempt_at, message);

CREATE TABLE done (                   -- recipients that owe nothing, of messages that still do
    message INTEGER NOT NULL,
    recipient INTEGER NOT NULL,
    lane TEXT NOT NULL,
    state TEXT NOT NULL,              -- relayed, failed
    last_reply TEXT NOT NULL,
    PRIMARY KEY (message, recipient)
) WITHOUT ROWID;

CREATE TABLE lane (
    name TEXT PRIMARY KEY,
    attempt INTEGER NOT NULL,
    next_attempt_at REAL NOT NULL,
    is_held INTEGER NOT NULL,         -- 1: by an operator, 2: paused, 3: both
    last_reply TEXT NOT NULL
) WITHOUT ROWID;

CREATE TRIGGER message_removed AFTER DELETE ON message BEGIN
    DELETE FROM work WHERE message = old.id;
    DELETE FROM content WHERE message = old.id;
    DELETE FROM done WHERE message = old.id;
END;
"""

_UPGRADES = {
    1: """
ALTER TABLE message ADD COLUMN name TEXT NOT NULL DEFAULT '';
ALTER TABLE message ADD COLUMN protocol TEXT NOT NULL DEFAULT '';
""",
    2: "ALTER TABLE message ADD COLUMN requires_tls INTEGER NOT NULL DEFAULT 0;",
}
"""From each layout that was once in use to the next one."""


def trouble(path: Path, doing: str, error: Exception) -> StoreFailed:
    """`doing`: "read" or "written". A damage is found when its page is looked at, not before."""
    if isinstance(error, (apsw.NotADBError, apsw.CorruptError)):
        return StoreFailed(
            f"{path} is damaged ({error}): stop the relay, then save what can be read of it with"
            " relayctl salvage DIRECTORY"
        )
    return StoreFailed(f"the queue cannot be {doing}: {error}")


def damaged(path: Path, why: object) -> StoreUnusable:
    return StoreUnusable(
        f"{path} is damaged ({why}): save what can be read of it with"
        " relayctl salvage DIRECTORY, or move the spool away and restore it from a backup"
    )


def connect(path: Path, vfs: str | None = None) -> apsw.Connection:
    """The one connection to the database, its tables made where it is new."""
    try:
        database = apsw.Connection(str(path), vfs=vfs, statementcachesize=_STATEMENT_CACHE)
        try:
            _settle_in(database, path)
        except BaseException:
            database.close()
            raise
        return database
    except apsw.BusyError:
        raise StoreUnusable(f"{path} is in use by another program: end it first") from None
    except (apsw.NotADBError, apsw.CorruptError) as error:
        raise damaged(path, error) from None
    except apsw.Error as error:
        raise StoreUnusable(f"{path} cannot be opened: {error}") from None


def _settle_in(database: apsw.Connection, path: Path) -> None:
    for setting in (
        f"page_size={PAGE_SIZE}",
        "locking_mode=EXCLUSIVE",  # also keeps the log's index in memory, not in a shared file
        "journal_mode=WAL",
        "synchronous=FULL",  # WAL: one sync per commit
        f"wal_autocheckpoint={CHECKPOINT_PAGES}",
        f"journal_size_limit={4 * CHECKPOINT_PAGES * PAGE_SIZE}",
        f"cache_size=-{CACHE_SIZE // 1024}",
        "temp_store=MEMORY",
    ):
        database.execute(f"PRAGMA {setting}").fetchall()
    if database.pragma("journal_mode") != "wal":
        raise StoreUnusable(f"{path} cannot have a write-ahead log: put the spool on a local disk")
    version = database.pragma("user_version")
    if version == 0:
        with database:
            database.execute(_TABLES)
            database.pragma("user_version", VERSION)
    elif version > VERSION:
        raise StoreUnusable(
            f"{path} was written by a newer relay (layout {version}, this one knows {VERSION}):"
            " run that version"
        )
    elif version < VERSION:
        _upgrade(database, version)


def _upgrade(database: apsw.Connection, version: int) -> None:
    """All of it or nothing."""
    with database:
        for old in range(version, VERSION):
            database.execute(_UPGRADES[old])
        database.pragma("user_version", VERSION)


def next_start_number(database: apsw.Connection) -> int:
    with database:
        number: int = database.execute(
            "UPDATE meta SET start_number = start_number + 1 RETURNING start_number"
        ).get
    return number
