"""Takes off the one Received field that a relay put before a message."""


def without_received(content: bytes, count: int = 1) -> bytes:
    """The content behind its first `count` fields, which must be Received fields."""
    for _ in range(count):
        if not content[:9].lower() == b"received:":
            raise AssertionError(f"no Received field in front: {content[:80]!r}")
        end = content.index(b"\r\n") + 2
        while content[end : end + 1] in (b" ", b"\t"):
            end = content.index(b"\r\n", end) + 2
        content = content[end:]
    return content
