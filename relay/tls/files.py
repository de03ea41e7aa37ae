"""The files that TLS needs, looked at before the relay starts.

What makes a start senseless is a problem; what is careless, or will be trouble, is a warning.
"""

import os
import pwd
import subprocess
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from relay.config.listener import Listener
from relay.config.schema import Settings
from relay.notices import Notice
from relay.tls.certificates import CertificateUnusable, read_certificates, read_pair
from relay.tls.server import ServerTls

_TEST = "/usr/bin/test"
"""Asks the kernel, which knows of groups, folders and access lists."""

MAX_WAIT = 10.0
"""Seconds for that: a file on a network that is away is not waited for."""


def problems(listeners: Sequence[Listener]) -> list[str]:
    """Files that are missing, unreadable, or do not belong together, each with its key."""
    found: list[str] = []
    for index, listener in enumerate(listeners):
        if not listener.has_tls:
            continue
        of_it = list(_problems_of(listener))
        found += [f"listener[{index}].{problem}" for problem in of_it]
        if not of_it:
            found += [f"listener[{index}].{problem}" for problem in _taken_by_openssl(listener)]
    return found


def _problems_of(listener: Listener) -> Iterator[str]:
    for place, files in enumerate(listener.certificates):
        try:
            read_pair(files.certificate, files.key_file)
        except CertificateUnusable as error:
            yield f"certificates[{place}]: {error}"
    if listener.client_ca is not None:
        try:
            read_certificates(listener.client_ca)
        except CertificateUnusable as error:
            yield f"client_ca: {error}"


def _taken_by_openssl(listener: Listener) -> Iterator[str]:
    try:
        ServerTls(listener, _nobody, lambda: 0.0)
    except CertificateUnusable as error:
        yield f"certificates: {error}"


def _nobody(notice: Notice) -> None:
    """Hears nothing yet."""


def warnings(listeners: Sequence[Listener]) -> list[str]:
    """Of files that have no problem."""
    now = datetime.now(UTC)
    found: list[str] = []
    for index, listener in enumerate(listeners):
        for place, files in enumerate(listener.certificates if listener.has_tls else ()):
            path = f"listener[{index}].certificates[{place}]"
            end = read_pair(files.certificate, files.key_file).valid_until
            if end < now:
                found.append(f"{path}: {files.certificate} has expired on {end:%Y-%m-%d}; renew it")
    return found


def unreadable_later(settings: Settings, uid: int, gid: int | None) -> list[str]:
    """What that user cannot read, each with its key. Only root can tell."""
    wanted = dict.fromkeys((*_of_listeners(settings), *_of_upstreams(settings)))
    return [
        f"{key}: {path} cannot be read by {name_of(uid)}"
        for key, path in wanted
        if not may_read(path, uid, gid)
    ]


def _of_listeners(settings: Settings) -> Iterator[tuple[str, Path]]:
    for index, listener in enumerate(settings.listeners):
        if listener.has_tls:
            certificates = (path for files in listener.certificates for path in files.paths)
            for path in (*certificates, listener.client_ca):
                if path is not None:
                    yield f"listener[{index}]", path


def _of_upstreams(settings: Settings) -> Iterator[tuple[str, Path]]:
    for index, upstream in enumerate(settings.upstreams):
        tokens = [upstream.oauth, *(each.oauth for each in upstream.identities)]
        for path in (
            upstream.ca_file,
            upstream.client_certificate,
            upstream.client_key,
            *(each.ca_file for each in tokens if each is not None),
        ):
            if path is not None:
                yield f"upstream[{index}]", path


def may_read(path: Path, uid: int, gid: int | None) -> bool:
    """Whether that user can. Only root can tell."""
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        group, groups = gid or 0, [gid or 0]
    else:
        group = entry.pw_gid if gid is None else gid
        groups = os.getgrouplist(entry.pw_name, group)
    done = subprocess.run(  # noqa: S603 - the program is fixed, the path is no option
        [_TEST, "-r", path],
        user=uid,
        group=group,
        extra_groups=groups,
        timeout=MAX_WAIT,
        check=False,
    )
    return done.returncode == 0


def name_of(uid: int) -> str:
    """The user's, or his number."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
