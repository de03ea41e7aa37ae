"""Which outside tools there are. A test without its tool is skipped, and names it.

With RELAY_REQUIRE_INTEROP=1 in the environment it fails instead: there, everything must run.
"""

import os
import shutil
import sys
from pathlib import Path
from unittest import SkipTest

CHECKOUT = Path(__file__).resolve().parents[2]

_SYSTEM_FOLDERS = ("/usr/sbin", "/sbin", "/usr/local/sbin")
"""Where Debian keeps Postfix: not on every user's PATH."""


def is_required() -> bool:
    return os.environ.get("RELAY_REQUIRE_INTEROP") == "1"


def missing(what: str) -> Exception:
    """What to raise where a tool is not there."""
    kind = AssertionError if is_required() else SkipTest
    return kind(f"needs {what}")


def need(tool: str) -> str:
    """The path of a program."""
    folders = os.pathsep.join((os.environ.get("PATH", os.defpath), *_SYSTEM_FOLDERS))
    path = shutil.which(tool, path=folders)
    if path is None:
        raise missing(tool)
    return path


def need_root(what: str) -> None:
    if os.geteuid() != 0:
        raise missing(f"root ({what} starts only as root)")


def need_nodemailer() -> tuple[str, str]:
    """Paths of node and of the folder its packages are looked for in."""
    node = need("node")
    prefix = Path(os.environ.get("RELAY_NODE_MODULES") or CHECKOUT / "var" / "node")
    for folder in (prefix / "node_modules", prefix):
        if (folder / "nodemailer").is_dir():
            return node, str(folder)
    raise missing(f"nodemailer (npm install --prefix {prefix} nodemailer)")


def need_email_data() -> Path:
    """The message files of Python's own tests of its email package."""
    for folder in (Path(os.__file__).parent, *map(Path, sys.path)):
        data = folder / "test" / "test_email" / "data"
        if (data / "msg_01.txt").is_file():
            return data
    raise missing("test.test_email of the standard library (Debian: libpython3-testsuite)")
