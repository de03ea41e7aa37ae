"""Builds every part from the config and wires them; starts and stops them in order.

The only file that knows all parts. Nothing is opened, bound or threaded before the service starts:
twistd daemonises and drops privileges in between.
"""

import atexit
import os
import signal
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from random import SystemRandom
from typing import Any, cast

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IReactorTCP, IReactorTime
from twisted.logger import Logger
from twisted.python import usage
from twisted.python.failure import Failure

from relay.config.reading import Config, ConfigError, load
from relay.config.schema import Listener
from relay.inbound.intake import Intake
from relay.inbound.listener import InboundFactory, InboundListener
from relay.inbound.policy import Policy
from relay.notices import Notice, Started, Stopped
from relay.observe.fan import fan_out
from relay.observe.trafficlog import TrafficLog
from relay.outbound.delivery import Delivery
from relay.outbound.routes import Routes
from relay.queue.control import QueueControl
from relay.queue.ids import QueueIds
from relay.queue.manager import QueueManager
from relay.queue.open_store import open_store, spool_of
from relay.queue.reports import ReportMaker
from relay.queue.reroute import Reroute
from relay.queue.schedule import Terms
from relay.queue.space import SpaceWatch
from relay.queue.store import Opened, StoreUnusable
from relay.queue.sweep import Sweep

_log = Logger()


class Options(usage.Options):
    """What `twistd relay` takes."""

    synopsis = "[--config FILE]"
    optParameters = [["config", "c", "/etc/relay/relay.toml", "The configuration file."]]

    def postOptions(self) -> None:
        """Every mistake in the config at once, then exit status 2."""
        try:
            self["loaded"] = load(self["config"])
        except ConfigError as error:
            for problem in error.problems:
                sys.stderr.write(f"relay: {problem}\n")
            raise SystemExit(2) from None


def makeService(options: Options) -> "RelayService":
    """twistd's entry."""
    from twisted.internet import reactor

    config: Config = options["loaded"]
    for warning in config.warnings():
        sys.stderr.write(f"relay: warning: {warning}\n")
    return RelayService(config, cast(Any, reactor))
