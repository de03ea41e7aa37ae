"""A client whose mail goes round over many domains, which smtp-source cannot do.

`python -m benchmarks.scaling.source PORT MESSAGES HOPS`: message n is for hop n modulo HOPS. Ends
with status 0 when each has its 250.
"""

import asyncio
import sys
from collections.abc import Iterator

_SESSIONS = 20
_CONTENT = (
    b"Subject: one of many\r\n\r\n" + b"A line of a message for one hop.\r\n" * 120 + b".\r\n"
)


async def _session(port: int, numbers: Iterator[int], hops: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await _replies(reader, b"220")
    writer.write(b"EHLO client.example.net\r\n")
    await _replies(reader, b"250")
    for number in numbers:
        writer.write(
            b"MAIL FROM:<sender@example.net>\r\nRCPT TO:<recipient@hop%d.example>\r\nDATA\r\n"
            % (number % hops)
        )
        await _replies(reader, b"250", b"250", b"354")
        writer.write(_CONTENT)
        await _replies(reader, b"250")
    writer.write(b"QUIT\r\n")
    await _replies(reader, b"221")
    writer.close()


async def _replies(reader: asyncio.StreamReader, *codes: bytes) -> None:
    for code in codes:
        line = await reader.readline()
        while line[3:4] == b"-":
            line = await reader.readline()
        if not line.startswith(code):
            raise SystemExit(f"{code!r} was awaited, {line!r} came")


async def _run(port: int, messages: int, hops: int) -> None:
    numbers = iter(range(messages))
    await asyncio.gather(*[_session(port, numbers, hops) for _ in range(_SESSIONS)])


if __name__ == "__main__":
    asyncio.run(_run(*map(int, sys.argv[1:])))
