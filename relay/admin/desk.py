"""Where relayctl's wishes go: to the relay that runs, else to the spool itself."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import click

from relay.admin.client import AskFailed, NoRelay, RunningRelay
from relay.admin.operations import Json
from relay.config import Config, ConfigError, load
from relay.config.reading import spool_in
from relay.queue.spool import folders_of
from relay.queue.store import Selection


class Desk(Protocol):
    """A queue that can be asked, wherever it is. The methods are those of `Operations`."""

    def page(self, selection: Selection, after: str, limit: int) -> Json: ...

    def act(self, verb: str, selection: Selection, after: str) -> Json: ...

    def lanes(self) -> list[Json]: ...

    def act_on_lane(self, verb: str, name: str) -> bool: ...

    def status(self) -> Json: ...

    def close(self) -> None: ...


class Failed(click.ClickException):
    """Ends with status 1 and one line."""

    exit_code = 1

    def show(self, file: object = None) -> None:
        click.echo(f"relayctl: {self.message}", err=True)


class Unusable(Failed):
    """The configuration is at fault: status 2."""

    exit_code = 2


def read_config(path: Path) -> Config:
    """Raises Unusable with every problem."""
    try:
        return load(path)
    except ConfigError as error:
        raise _unusable(path, error) from None


def _unusable(path: Path, error: ConfigError) -> Unusable:
    hint = "" if path.exists() else "; pass --config FILE or set RELAY_CONFIG"
    return Unusable("\nrelayctl: ".join(error.problems) + hint)


@contextmanager
def open_desk(path: Path, *, must_run: bool = False) -> Iterator[Desk]:
    """The queue of this configuration. Raises Failed or Unusable."""
    try:
        desk = _desk(load(path), path, must_run)
    except ConfigError as error:
        desk = _running_all_the_same(path, error)
    try:
        yield desk
    except AskFailed as error:
        raise Failed(str(error)) from None
    finally:
        desk.close()


def _running_all_the_same(path: Path, error: ConfigError) -> Desk:
    """Where a file is being changed, its relay still runs. Raises Unusable."""
    spool = spool_in(path)
    if spool is None:
        raise _unusable(path, error)
    try:
        desk = RunningRelay(spool)
    except (AskFailed, NoRelay):
        raise _unusable(path, error) from None
    click.echo(
        f"relayctl: {path} has mistakes (relayctl check tells them); the relay that runs goes on"
        " by what it read before",
        err=True,
    )
    return desk


def _desk(config: Config, path: Path, must_run: bool) -> Desk:
    kind, _, place = config.queue.store.partition(":")
    if kind != "sqlite":
        raise Failed(
            f'the queue of {path} is in memory only (store = "{config.queue.store}"):'
            " relayctl cannot reach it"
        )
    try:
        return RunningRelay(Path(place))
    except AskFailed as error:
        raise Failed(str(error)) from None
    except NoRelay:
        pass
    start = f"start it with: twistd -n relay --config {path}"
    if must_run:
        raise Failed(
            f"no relay is running on {place}; {start}. Where queue.store was changed, the relay"
            " still runs on the former one"
        )
    if not _is_there(Path(place)):
        raise Failed(
            f"no relay is running on {place}, and there is no queue yet; {start};"
            " or pass --config of another one"
        )
    return _own_spool(config, Path(place))


def _is_there(spool: Path) -> bool:
    try:
        return bool(folders_of(spool))
    except PermissionError:
        raise Failed(
            f"{spool} is not for you: run relayctl as root or as the relay's user"
        ) from None


def _own_spool(config: Config, place: Path) -> Desk:
    from relay.admin.own_spool import OwnSpool  # a reactor, a store: only where needed
    from relay.queue.store import StoreFailed

    try:
        desk = OwnSpool(config, place)
    except (StoreFailed, OSError) as error:
        raise Failed(
            f"no relay answers on {place}, and the spool cannot be opened: {error}"
        ) from None
    click.echo(f"relayctl: no relay is running on {place}; working on its spool", err=True)
    return desk
