"""Where the relay meets its machine, and what stands there in the simulation.

All that is real but for the names in this file: threads, files, chance, the operators' socket and
the log's file. Used in a process of its own: what is replaced stays so.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import relay.inbound.auth
import relay.inbound.listener
import relay.inbound.protocol
import relay.outbound.directory
import relay.outbound.dns.resolver
import relay.outbound.opening
import relay.outbound.protocol
import relay.queue.content_files
import relay.queue.group_commit
import relay.queue.open_store
import relay.queue.space
import relay.queue.spool
import relay.queue.sqlite_reads
import relay.queue.sqlite_schema
import relay.service.backstage
import relay.service.relay
import relay.service.reload
import relay.users.hashing
import relay.users.pool
import relay.users.watched
from relay.config.reading import check
from relay.inbound.proxied import AwaitingHeader
from relay.notices import Notice
from relay.outbound.identity.secret import Secret
from relay.queue.sqlite import SqliteStore
from tests.sim.filesystem import VFS, SimulatedPath, SimulatedSystem
from tests.sim.logins import HASHER

FOLDER = Path("/")
_numbers: dict[int, tuple[int, object]] = {}
"""By its place in memory, an object's number and itself: so that the place stays its own."""


def put_machine(machine: Any) -> None:
    """Relays that are made from now on run on this machine (see machine.py)."""
    system: SimulatedSystem = machine.system
    SimulatedPath.system = system
    for module in (relay.queue.content_files, relay.queue.spool):
        module.os = system
    relay.queue.spool.fcntl = system
    relay.queue.spool.open = system.fdopen
    relay.queue.open_store.Path = SimulatedPath
    relay.queue.open_store.SqliteStore = _on_vfs
    relay.queue.space.INTERVAL = 5.0  # for speed
    relay.queue.space.free_octets_of = lambda _: machine.free_octets
    relay.queue.group_commit.in_thread = machine.threads.in_thread
    relay.queue.group_commit.SimpleQueue = machine.threads.queue
    relay.queue.content_files.ThreadPoolExecutor = machine.threads.pool
    relay.queue.sqlite_schema.CHECKPOINT_PAGES = machine.checkpoint_pages
    relay.queue.sqlite_reads.SLICE = machine.slice
    put_logins(machine)
    relay.outbound.directory.Questions = lambda *_, **__: machine.names
    relay.outbound.directory.SystemRandom = lambda: machine.mail_host_chance
    relay.outbound.dns.resolver.ThreadPool = NoThreads
    relay.outbound.dns.resolver.deferToThreadPool = machine.questions.defer
    relay.service.backstage.SystemRandom = lambda: machine.relay_chance
    relay.service.relay.TrafficLog = lambda file, clock: HandedOn(machine.heard)
    relay.service.relay.Control = NoDoor
    relay.service.reload.read = lambda _: check(machine.tables, FOLDER)
    relay.service.relay.on_signal = lambda *_: None
    relay.service.relay.exit_with = machine.refused_to_start


def put_logins(machine: Any) -> None:
    logins = machine.logins
    relay.users.watched.read_users = logins.read_users
    relay.users.watched.version_of = logins.users.version_of
    relay.users.hashing._HASHER = HASHER
    relay.users.pool.ThreadPool = NoThreads
    relay.users.pool.deferToThreadPool = machine.threads.defer
    relay.inbound.auth.secrets = machine.nonces
    relay.outbound.protocol.token_urlsafe = machine.nonces.token_urlsafe
    Secret._from_file = lambda self, path: logins.secret_in(path)
    Secret.version = lambda self: None if self.file is None else logins.version_of(self.file)


class NoThreads:
    """In the place of a pool of them."""

    started = False

    def __init__(self, *_: object) -> None:
        pass

    def start(self) -> None:
        """Nothing is."""

    stop = start


Heard = Callable[[str, str], None]
"""Hears the lane and the queue id."""


class Watched:
    """Between the queue's manager and the deliverer: tells of each attempt's begin and end."""

    def __init__(self, deliverer: Any, begins: Heard, ends: Heard) -> None:
        self._begins = begins
        self._ends = ends
        self._deliverer = deliverer

    def deliver(self, lane: str, queue_id: str, *arguments: Any) -> None:
        *rest, done = arguments

        def ended(result: Any) -> None:
            self._ends(lane, queue_id)
            done(result)

        self._begins(lane, queue_id)
        self._deliverer.deliver(lane, queue_id, *rest, ended)

    def forget_trouble(self, lane: str) -> None:
        self._deliverer.forget_trouble(lane)


def watch_attempts(service: Any, begins: Heard, ends: Heard) -> None:
    manager = service._stage.manager
    manager._deliverer = Watched(manager._deliverer, begins, ends)


def number_objects() -> None:
    """Sets of sessions are walked in an order that no address in memory decides."""
    _numbers.clear()
    for kind in (
        relay.inbound.protocol.InboundProtocol,
        relay.outbound.protocol.UpstreamSession,
        relay.outbound.opening.Opening,
        AwaitingHeader,
    ):
        kind.__hash__ = _numbered


def _numbered(one: object) -> int:
    """Kept beside it: a compiled object has no room for more."""
    place = id(one)
    if place not in _numbers:
        _numbers[place] = len(_numbers), one
    return _numbers[place][0]


def _on_vfs(directory: Any, reactor: Any, **options: Any) -> SqliteStore:
    return SqliteStore(directory, reactor, VFS, **options)


class HandedOn:
    """In the place of the traffic log."""

    def __init__(self, heard: Callable[[Notice], None]) -> None:
        self.heard = heard

    def start(self) -> None:
        """Nothing is opened."""

    stop = reopen = start

    def __call__(self, notice: Notice) -> None:
        self.heard(notice)


class NoDoor:
    """In the place of the operators' socket: the simulated operator asks the operations itself."""

    def __init__(self, operations: Any, reactor: Any) -> None:
        pass

    def open(self, spool: Any, admin: Any, observe: Any) -> None:
        """Nobody knocks."""

    async def close(self) -> None:
        """Nothing is open."""
