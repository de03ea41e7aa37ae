"""Takes up a changed config while the relay runs, whole or not at all; says what came of it.

`change` does it; before that the file has been read with all that it names, and compared.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger

from relay.admin.configuration import read, warnings
from relay.config import Config, ConfigError
from relay.notices import Alarm, AlarmOver, Observer, Reloaded
from relay.service.differences import changes, needing_restart
from relay.service.systemd import READY, Systemd

WHAT = "configuration"
"""As alarms name it."""

_log = Logger()


class Reload:
    """One at a time; who comes meanwhile waits. `change` raises ConfigError where it changed
    nothing."""

    def __init__(
        self,
        source: Path | None,
        current: Callable[[], Config],
        change: Callable[[Config], Awaitable[None]],
        observe: Observer,
        systemd: Systemd,
    ) -> None:
        self._systemd = systemd
        self._source = source
        self._current = current
        self._change = change
        self._observe = observe
        self._lock = DeferredLock()
        self._is_refused = False

    def begin(self) -> None:
        """As `now`, with nobody there to be told: the log is."""
        Deferred.fromCoroutine(self.now()).addErrback(
            lambda why: None if why.check(ConfigError) else _log.failure("reload broke", why)
        )

    async def now(self) -> dict[str, Any]:
        """`changes` and `warnings`, a line each. Raises ConfigError with every mistake: nothing has
        changed then."""
        await self._lock.acquire()
        self._systemd.tell_reloading()
        try:
            told = await self._reload()
        except ConfigError as error:
            self._refused(error.problems)
            raise
        finally:
            self._systemd.tell(READY)
            self._lock.release()
        return told

    async def _reload(self) -> dict[str, Any]:
        if self._source is None:
            raise ConfigError(["this process was not started with a file"])
        config = read(self._source)
        old = self._current()
        if fixed := needing_restart(old, config):
            raise ConfigError(fixed)
        await self._change(config)
        changed, doubts = changes(old, config), warnings(config)
        for doubt in doubts:
            _log.warn("configuration: {doubt}", doubt=doubt)
        _log.info("configuration reloaded: {changed}", changed="; ".join(changed) or "no change")
        if self._is_refused:
            self._is_refused = False
            self._observe(AlarmOver(WHAT))
        self._observe(Reloaded(tuple(changed)))
        return {"changes": changed, "warnings": doubts}

    def _refused(self, problems: list[str]) -> None:
        for problem in problems:
            _log.error("configuration: {problem}", problem=problem)
        self._is_refused = True
        self._observe(Alarm(WHAT, f"not reloaded, nothing has changed: {'; '.join(problems)}"))

    def __repr__(self) -> str:
        return f"<Reload {self._source}{' refused' if self._is_refused else ''}>"
