"""twistd's entry: reads the config, and makes the relay one process or several."""

import os
import sys
from pathlib import Path
from typing import Any, cast

from twisted.application.service import Service
from twisted.python import usage

from relay.admin.configuration import read, warnings
from relay.config.reading import Config, ConfigError
from relay.outbound.identity import making
from relay.queue.open_store import spool_of
from relay.queue.spool import folders_of
from relay.service.relay import RelayService
from relay.service.systemd import Systemd
from relay.steady_clock import keep_steady
from relay.tls import files
from relay.workers.supervisor import Supervisor


class Options(usage.Options):
    """What `twistd relay` takes."""

    synopsis = "[--config FILE]"
    optParameters = [["config", "c", "/etc/relay/relay.toml", "The configuration file."]]

    def postOptions(self) -> None:
        """Every mistake in the config at once, then exit status 2."""
        try:
            self["source"] = Path(self["config"]).absolute()  # twistd may change its folder
            self["loaded"] = read(self["source"])
        except ConfigError as error:
            for problem in error.problems:
                sys.stderr.write(f"relay: {problem}\n")
            raise SystemExit(2) from None

    @property
    def later_user(self) -> tuple[int, int | None] | None:
        """Whom twistd becomes after the start (--uid, --gid); None: nobody else."""
        twistd: Any = self.parent or {}
        uid = twistd.get("uid")
        return None if uid is None or os.geteuid() else (uid, twistd.get("gid"))


def makeService(options: Options) -> Service:
    """One process, unless the config wants several or a queue of several was left."""
    from twisted.internet import reactor

    keep_steady(reactor)
    config: Config = options["loaded"]
    doubts = [*warnings(config), *_later(config, options)]
    for warning in doubts:
        sys.stderr.write(f"relay: warning: {warning}\n")
    left = left_folders(config)
    if config.workers == 1 and not left:
        return RelayService(config, cast(Any, reactor), None, options["source"], Systemd.here())
    return Supervisor(config, left, cast(Any, reactor), options["source"], Systemd.here())


def _later(config: Config, options: Options) -> list[str]:
    """Files that cannot be read again once twistd is another user."""
    if options.later_user is None:
        return []
    _refuse_secrets_of_others(config, *options.later_user)
    unreadable = files.unreadable_later(config, *options.later_user)
    if unreadable and config.workers > 1:
        for problem in unreadable:
            sys.stderr.write(f"relay: {problem}, and workers run as that user; let it read it\n")
        raise SystemExit(2)
    later = "changes of it will not be taken up, and every reload refused; let it read it"
    return [f"{each}: {later}" for each in unreadable]


def _refuse_secrets_of_others(config: Config, uid: int, gid: int | None) -> None:
    """They are read when they are needed, and that is after twistd became that user."""
    found = making.unreadable_later(config.upstreams, lambda path: files.may_read(path, uid, gid))
    for problem in found:
        name = files.name_of(uid)
        sys.stderr.write(f"relay: {problem} cannot be read by {name}; let it belong to that user\n")
    if found:
        raise SystemExit(2)


def left_folders(config: Config) -> list[int]:
    """Queues of a former, larger number of workers: their mail is to be delivered yet."""
    spool = spool_of(config.queue.store)
    if spool is None:
        return []
    try:
        return [number for number in folders_of(spool) if number >= config.workers]
    except OSError:
        return []  # the store's own trouble tells more
