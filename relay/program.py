"""twistd's entry: reads the config, and makes the relay one process or several."""

import sys
from typing import Any, cast

from twisted.application.service import Service
from twisted.python import usage

from relay.config.reading import Config, ConfigError, load
from relay.queue.open_store import spool_of
from relay.queue.spool import folders_of
from relay.service import RelayService
from relay.tls.client import problems, warnings
from relay.workers.supervisor import Supervisor


class Options(usage.Options):
    """What `twistd relay` takes."""

    synopsis = "[--config FILE]"
    optParameters = [["config", "c", "/etc/relay/relay.toml", "The configuration file."]]

    def postOptions(self) -> None:
        """Every mistake in the config at once, then exit status 2."""
        try:
            self["loaded"] = load(self["config"])
            if found := problems(self["loaded"].upstreams):
                raise ConfigError(found)
        except ConfigError as error:
            for problem in error.problems:
                sys.stderr.write(f"relay: {problem}\n")
            raise SystemExit(2) from None


def makeService(options: Options) -> Service:
    """One process, unless the config wants several or a queue of several was left."""
    from twisted.internet import reactor

    config: Config = options["loaded"]
    for warning in (*config.warnings(), *warnings(config.upstreams)):
        sys.stderr.write(f"relay: warning: {warning}\n")
    left = left_folders(config)
    if config.workers == 1 and not left:
        return RelayService(config, cast(Any, reactor))
    return Supervisor(config, left, cast(Any, reactor))


def left_folders(config: Config) -> list[int]:
    """Queues of a former, larger number of workers: their mail is to be delivered yet."""
    spool = spool_of(config.queue.store)
    if spool is None:
        return []
    try:
        return [number for number in folders_of(spool) if number >= config.workers]
    except OSError:
        return []  # the store's own trouble tells more
