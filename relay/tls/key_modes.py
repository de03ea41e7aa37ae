"""Who else may read the files of private keys: everybody is a doubt, a group is worth knowing.

Services share a key by a group (ssl-cert on Debian), so that is no doubt. Nothing is refused: a
relay that does not start after a renewal's wrong mode would cost more.
"""

import grp
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from relay.config.schema import Settings


def doubts(settings: Settings) -> list[str]:
    """Keys that everybody can read, each with its place."""
    return [
        f"{place}: {path} holds a private key, and every user of this machine can read it;"
        f" chmod o= {path}"
        for place, path in _keys(settings)
        if _mode(path) & stat.S_IROTH
    ]


def notes(settings: Settings) -> list[str]:
    """Keys that a group can read, and nobody else."""
    return [
        f"{place}: {path} holds a private key, which the group {_group(path)} can read, too"
        for place, path in _keys(settings)
        if _mode(path) & (stat.S_IRGRP | stat.S_IROTH) == stat.S_IRGRP
    ]


def _keys(settings: Settings) -> Iterator[tuple[str, Path]]:
    for index, listener in enumerate(settings.listeners):
        for number, files in enumerate(listener.certificates if listener.has_tls else ()):
            yield f"listener[{index}].certificates[{number}]", files.key_file
    for index, upstream in enumerate(settings.upstreams):
        key = upstream.client_key or upstream.client_certificate
        if key is not None:
            yield f"upstream[{index}]", key


def _mode(path: Path) -> int:
    """0 where the file is away: others tell of that."""
    try:
        return path.stat().st_mode
    except OSError:
        return 0


def _group(path: Path) -> str:
    """Its name, or its number."""
    number = os.stat(path).st_gid
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
