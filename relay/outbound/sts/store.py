"""The MTA-STS policies on disk: a small file for each domain, so that a restart forgets none.

A policy is worth something only if it outlives the moment: whoever can hide it later must not be
able to make the relay forget it (RFC 8461 2). Without a folder they are kept in memory alone.
"""

import hashlib
import json
import os
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from twisted.logger import Logger

from relay.outbound.sts.policy import StsPolicy

MAX_IN_MEMORY = 5000
"""Policies in memory, some hundred octets each; the others are read again when they are needed."""

MAX_FILES = 50000
"""Policies on disk, a block of 4 KiB each. Beyond it the ones written longest ago are removed."""

PRUNE_EVERY = 500
"""Policies written between looks at how many there are."""

_log = Logger()


@dataclass(frozen=True, slots=True)
class Kept:
    """A policy fetched at `fetched_at` (unix seconds), announced under `id`. `used_at`: when mail
    last went by it, to within a day."""

    id: str
    fetched_at: float
    policy: StsPolicy
    used_at: float

    def is_good(self, now: float) -> bool:
        return now < self.fetched_at + self.policy.max_age


class StsStore:
    """`folder`: made when first needed; None: none. `is_read_only`: nothing is written there."""

    def __init__(self, folder: Path | None, *, is_read_only: bool = False) -> None:
        self.folder = folder
        self._is_read_only = is_read_only
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._written = 0

    def get(self, domain: str) -> Kept | None:
        if domain in self._kept:
            self._kept.move_to_end(domain)
            return self._kept[domain]
        return self.newest(domain)

    def newest(self, domain: str) -> Kept | None:
        """The same, as another worker may have fetched it meanwhile."""
        found, known = self._read(domain), self._kept.get(domain)
        if found is not None and (known is None or found.fetched_at >= known.fetched_at):
            self._remember(domain, found)  # else another may have one soon, and it is on disk then
            return found
        return known

    def every(self) -> Iterator[tuple[str, Kept]]:
        """All of them, one read at a time; damaged ones are passed over."""
        if self.folder is None:
            yield from list(self._kept.items())
            return
        with suppress(FileNotFoundError), os.scandir(self.folder) as entries:
            for entry in entries:  # as many as there may be are not listed in one go
                if entry.name.endswith(".json"):
                    with suppress(OSError, ValueError, KeyError, TypeError):
                        yield _load(Path(entry.path))

    def forget(self, domain: str) -> None:
        """It is of no use any more."""
        self._kept.pop(domain, None)
        if self.folder is not None:
            try:
                self._path(self.folder, domain).unlink(missing_ok=True)
            except OSError as error:
                _log.warn("{domain}'s MTA-STS policy stays: {why}", domain=domain, why=error)

    def put(self, domain: str, kept: Kept) -> None:
        self._remember(domain, kept)
        if self.folder is not None and not self._is_read_only:
            try:
                self._write(self.folder, domain, kept)
            except OSError as error:
                _log.warn(
                    "the MTA-STS policy of {domain} was not kept: {why}", domain=domain, why=error
                )

    def _remember(self, domain: str, kept: Kept) -> None:
        self._kept[domain] = kept
        self._kept.move_to_end(domain)
        if len(self._kept) > MAX_IN_MEMORY:
            self._kept.popitem(last=False)

    def _path(self, folder: Path, domain: str) -> Path:
        """Any domain makes a file name; the domain itself stands inside."""
        return folder / f"{hashlib.sha256(domain.encode()).hexdigest()[:40]}.json"

    def _read(self, domain: str) -> Kept | None:
        if self.folder is None:
            return None
        try:
            found, kept = _load(self._path(self.folder, domain))
            return kept if found == domain else None
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            _log.warn(
                "the kept MTA-STS policy of {domain} cannot be read: {why}",
                domain=domain,
                why=error,
            )
            return None

    def _write(self, folder: Path, domain: str, kept: Kept) -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        policy = kept.policy
        raw = {
            "domain": domain,
            "id": kept.id,
            "fetched_at": kept.fetched_at,
            "used_at": kept.used_at,
            "mode": policy.mode,
            "max_age": policy.max_age,
            "mx": policy.patterns,
        }
        path = self._path(folder, domain)
        new = path.with_suffix(f".{os.getpid()}.new")  # workers share the folder
        new.write_text(json.dumps(raw))
        os.replace(new, path)
        self._written += 1
        if self._written % PRUNE_EVERY == 1:
            _prune(folder)

    def __repr__(self) -> str:
        return f"<StsStore {self.folder} {len(self._kept)} in memory>"


def _load(path: Path) -> tuple[str, Kept]:
    """Raises OSError, ValueError, KeyError or TypeError where the file holds none."""
    raw = json.loads(path.read_text())
    policy = StsPolicy(str(raw["mode"]), int(raw["max_age"]), tuple(map(str, raw["mx"])))
    fetched_at = float(raw["fetched_at"])
    used_at = float(raw.get("used_at", fetched_at))  # older files do not tell
    return str(raw["domain"]), Kept(str(raw["id"]), fetched_at, policy, used_at)


def _prune(folder: Path) -> None:
    files = list(folder.glob("*.json"))
    if len(files) > MAX_FILES:
        files.sort(key=lambda path: path.stat().st_mtime)
        for path in files[: len(files) - MAX_FILES]:
            path.unlink(missing_ok=True)
