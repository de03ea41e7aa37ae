"""aiosmtpd with its Proxy handler as a program: `python -m benchmarks.aiosmtpd_proxy PORT SINK`."""

import asyncio
import sys

from aiosmtpd.handlers import Proxy
from aiosmtpd.smtp import SMTP

_LARGEST = 104857600


async def _serve(port: int, sink: int) -> None:
    loop = asyncio.get_running_loop()
    handler = Proxy("127.0.0.1", sink)
    await loop.create_server(
        lambda: SMTP(handler, data_size_limit=_LARGEST, hostname="aiosmtpd.example.net"),
        "127.0.0.1",
        port,
        backlog=1000,
    )
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), int(sys.argv[2])))
