"""A full disk, a spool that may not be written, no descriptors left: refused, then got over."""

import os
import re
import subprocess
from pathlib import Path

from relay.queue.space import free_octets_of
from tests.attacks.dialogue import Rude
from tests.crash.account import Account
from tests.crash.scene import Scene, mount, start, unmount
from tests.process.child import wait_until

MIN_FREE = 1 << 20
"""As RelayProcess sets it."""


def _seen(stage: Scene, *codes: int) -> int:
    return sum(stage.load.replies.get(code, 0) for code in codes)


def wait_for_refusals(stage: Scene, *codes: int, count: int = 10) -> None:
    goal = _seen(stage, *codes) + count
    wait_until(lambda: _seen(stage, *codes) >= goal, f"{count} x {codes} to clients")


def fill_the_disk(stage: Scene, count: int) -> Account:
    """To the last octet, so that commits fail as well: 451 or 452, and all is well once there is
    room, without a restart."""
    filler = stage.relay.spool / "filler"
    for _ in range(count):
        stage.wait_for_more()
        _fill(filler)
        stage.upstream.note_fault()
        wait_for_refusals(stage, 451, 452)
        stage.upstream.note_fault()
        filler.unlink()
        stage.wait_for_more()
    stage.notes.append(f"replies {dict(sorted(stage.load.replies.items()))}")
    return stage.account()


def come_below_min_free(stage: Scene, count: int) -> Account:
    """Half of `min_free` is left: 452, while what is in the queue goes on."""
    filler = stage.relay.spool / "filler"
    for _ in range(count):
        stage.wait_for_more()
        with filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, free_octets_of(stage.relay.spool) - MIN_FREE // 2)
        wait_for_refusals(stage, 452)
        filler.unlink()
        stage.wait_for_more()
    stage.notes.append(f"replies {dict(sorted(stage.load.replies.items()))}")
    return stage.account()


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue


def forbid_writing(stage: Scene, count: int) -> Account:
    """The folder of large contents becomes read-only: those get 451, the others go on."""
    folder = stage.relay.spool / "0" / "content"
    for _ in range(count):
        stage.wait_for_more()
        mount("--bind", folder, folder)
        try:
            wait_until(lambda: _is_made_read_only(folder), "a moment without a file being written")
            stage.upstream.note_fault()
            wait_for_refusals(stage, 451, 452, count=3)
            stage.wait_for_more()
        finally:
            unmount(folder)
        stage.upstream.note_fault()
        stage.wait_for_more(60)
    stage.notes.append(f"replies {dict(sorted(stage.load.replies.items()))}")
    return stage.account()


def start_where_nothing_can_be_written(stage: Scene, count: int) -> Account:
    """After a crash the whole spool is read-only, as a disk with errors becomes: the relay does
    not start, says why, and goes on with all of its mail once that is put right."""
    relay = stage.relay
    for _ in range(count):
        stage.wait_for_more()
        relay.kill()
        stage.upstream.note_fault()
        mount("--bind", relay.spool, relay.spool)
        try:
            assert _is_made_read_only(relay.spool)
            assert relay.launch().wait(), "it started"
        finally:
            unmount(relay.spool)
        assert "cannot be written (Read-only file system): mount it writable" in relay.child.output
        start(relay)
    return stage.account()


def _is_made_read_only(folder: Path) -> bool:
    command = ["mount", "-o", "remount,bind,ro", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def use_up_descriptors(stage: Scene, count: int) -> Account:
    """More clients than there can be sockets; those that have a session go on."""
    for _ in range(count):
        stage.wait_for_more()
        crowd = [_knock(stage.relay.port) for _ in range(150)]
        stage.upstream.note_fault()
        served = sum(each is not None and each.greeting[:3] == "220" for each in crowd)
        for each in crowd:
            if each is not None:
                each.__exit__()
        stage.upstream.note_fault()
        stage.wait_for_more()
        stage.notes.append(f"{served} of 150 further clients had a session")
    status = Path(f"/proc/{stage.relay.child.pid}/limits").read_text()
    found = re.search(r"Max open files\s+(\d+)", status)
    stage.notes.append(f"{found[1] if found else '?'} descriptors, {_open_now(stage)} open")
    return stage.account()


def _knock(port: int) -> Rude | None:
    try:
        return Rude(port, timeout=0.3)
    except OSError:
        return None


def _open_now(stage: Scene) -> int:
    return len(os.listdir(f"/proc/{stage.relay.child.pid}/fd"))
