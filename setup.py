"""What setup.cfg cannot say: with RELAY_COMPILE=1 the way of a message is compiled (mypyc).

Pure Python is the default. A compiled build needs mypy and what it looks at, so it is made without
build isolation: see `make compiled`.
"""

import os
from glob import glob

from setuptools import Extension, setup

COMPILED = [
    "relay/beat.py",
    "relay/notices.py",
    "relay/net/readiness.py",
    "relay/net/stream.py",
    "relay/places.py",
    "relay/steady_clock.py",
    "relay/waits.py",
    "relay/mail/*.py",
    "relay/smtp/*.py",
    "relay/observe/*.py",
    "relay/outbound/*.py",
    "relay/inbound/*.py",
    *(
        f"relay/queue/{name}.py"
        for name in (
            "backoff",
            "content_files",
            "group_commit",
            "hybrid",
            "ids",
            "in_hand",
            "lanes",
            "manager",
            "promise",
            "recorder",
            "reports",
            "schedule",
            "sqlite_rows",
            "sqlite_writes",
            "story",
        )
    ),
]
"""What a message meets on its way. The rest is interpreted: it is not hot, or no compiler's food
(zope interfaces, pydantic models)."""


def extensions() -> list[Extension]:
    if os.environ.get("RELAY_COMPILE") != "1":
        return []
    from mypyc.build import mypycify  # a developer's tool, absent where nothing is compiled

    modules = sorted(
        path for pattern in COMPILED for path in glob(pattern) if not path.endswith("__init__.py")
    )
    built: list[Extension] = mypycify(modules, opt_level="2", debug_level="0", multi_file=True)
    return built


setup(ext_modules=extensions())
