"""What is fuzzed: each target takes any octets, and raises only where something is wrong.

The errors that a part documents are caught here; whatever else comes out is a fault.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from relay.config import ConfigError
from relay.config.reading import check, parse
from relay.mail.address import AddressGlob, split
from relay.mail.content import InlineContent
from relay.mail.dsn import Report, ReportedRecipient, compose
from relay.mail.encoding import has_clean_lines, has_long_line
from relay.mail.reply import Reply
from relay.mail.transcode import to_7bit
from relay.smtp.content import ContentEncoder
from relay.smtp.events import RemoteProtocolError
from relay.smtp.grammar import Malformed, parse_bdat, parse_hello, parse_mail, parse_rcpt
from relay.smtp.replies import ReplyReader
from tests.attacks.smuggling import is_canonical
from tests.smtp.shell import Shell, settings
from tests.smtp.test_client import TWO, Talk

Target = Callable[[bytes], None]

_REPLIES = re.compile(rb"(?:[2-5][0-9][0-9][ -][\t -\x7e]*\r\n)*")


def _pieces(octets: bytes, size: int) -> list[bytes]:
    """Cut in pieces of that size; 0: not cut."""
    step = size or len(octets) or 1
    return [octets[at : at + step] for at in range(0, len(octets), step)]


def server(octets: bytes) -> None:
    """The first octet chooses the settings and the cuts."""
    how = octets[0] if octets else 0
    shell = Shell(
        settings(
            bare_newline="reject" if how & 1 else "normalise",
            auth="offered" if how & 2 else "none",
            auth_without_tls=True,
            max_message_size=5000,
            takes_bare_paths=bool(how & 4),
        )
    )
    try:
        if how & 8:
            shell.say(b"EHLO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@example.org>\r\n")
        shell.say(*_pieces(octets[1:], how >> 4), b"")
    except RemoteProtocolError:
        pass
    assert _REPLIES.fullmatch(shell.sent), shell.sent
    for content in shell.contents:
        _check_content(content)


def _check_content(content: bytes) -> None:
    encoder = ContentEncoder()
    wire = encoder.encode(content) + encoder.finish()
    assert is_canonical(wire), wire


def client(octets: bytes) -> None:
    """Octets are what an upstream says; the first one chooses what we want of it."""
    how = octets[0] if octets else 0
    talk = Talk(is_lmtp=bool(how & 1))
    if how & 2:
        talk.hears(b"220 up\r\n")
    engine = talk.engine
    for piece in [*re.split(rb"(?<=\n)", octets[1:]), b""]:
        talk.hears(piece)
        if engine.is_idle:
            engine.begin(TWO, 9, is_chunked=bool(how & 4) and engine.offers_chunking)
        elif engine.is_ready_for_content:
            engine.send_content(b"a\r\n")
            if engine.is_ready_for_content:
                engine.end_content()
        talk.says()
        repr(engine)


def addresses(octets: bytes) -> None:
    """The arguments of commands, as the engine hands them to the grammar."""
    text = octets.decode("utf-8", "replace")
    for parse_one in (
        parse_hello,
        parse_bdat,
        parse_mail,
        lambda given: parse_mail(given, may_have_auth=True),
        lambda given: parse_rcpt(given, smtputf8=False),
        lambda given: parse_rcpt(given, smtputf8=True),
        lambda given: parse_mail(f"FROM:<{given}>"),
        lambda given: parse_rcpt(f"TO:<{given}>", smtputf8=True),
    ):
        try:
            found = parse_one(text)
        except Malformed as fault:
            assert "\n" not in str(fault)
            assert _REPLIES.fullmatch(f"{fault.reply}\r\n".encode()), fault.reply
        else:
            path = getattr(found, "reverse_path", None) or getattr(found, "forward_path", "")
            _check_path(path)


def _check_path(path: str) -> None:
    """No octet in it can end a command, and it reads back as itself."""
    assert not re.search("[\0-\x1f\x7f-\x9f\u2028\u2029]", path), path
    split(path)
    if "@" in path:
        assert parse_rcpt(f"TO:<{path}>", smtputf8=True).forward_path == path, path


def globs(octets: bytes) -> None:
    pattern, _, path = octets.decode("utf-8", "replace").partition("\n")
    try:
        glob = AddressGlob(pattern)
    except ValueError:
        return
    glob.matches(path)
    if "*" not in pattern and "?" not in pattern and "@" in pattern:
        assert glob.matches(pattern), pattern


def replies(octets: bytes) -> None:
    """Whole and octet by octet are the same."""
    assert _replies_in([octets]) == _replies_in(_pieces(octets, 1))


def _replies_in(pieces: list[bytes]) -> list[object]:
    reader, found = ReplyReader(), []
    try:
        for piece in pieces:
            reader.receive(piece)
            while (reply := reader.next_reply()) is not None:
                assert 200 <= reply.code <= 599
                assert all(line.isprintable() for line in reply.lines), reply
                found.append(reply)
    except RemoteProtocolError as error:
        assert "\n" not in str(error)
        found.append("fault")
    return found


def dsn(octets: bytes) -> None:
    """The parts of the input, at NUL octets, are all that others gave to a report."""
    parts = octets.split(b"\0")
    original, *texts = [*parts, b"", b"", b"", b"", b"", b""]
    words = [part.decode("utf-8", "replace") for part in texts]
    report = Report(
        kind="failed",
        hostname="relay.example.net",
        reverse_path=words[0],
        accepted_at=1763944200.0,
        made_at=1763944260.0,
        dsn_queue_id="0DSN",
        original_queue_id="0ORIG",
        recipients=(
            ReportedRecipient(
                words[1], "failed", Reply(550, "", (words[2],)), words[3], orcpt=words[4]
            ),
        ),
        original=InlineContent(original),
        envid=words[4],
    )
    content = compose(report)
    assert has_clean_lines(content)
    assert not has_long_line(content)


def transcoding(octets: bytes) -> None:
    """A whole message made seven-bit, where that can be."""
    content = InlineContent(octets)
    made = to_7bit(content)
    if made is not None:
        assert b"".join(made.chunks()).isascii()


def config(octets: bytes) -> None:
    try:
        check(parse(octets, Path("relay.toml")), Path("/nowhere"))
    except ConfigError as error:
        assert error.problems
        assert all("\n" not in line for line in error.problems), error.problems


TARGETS: Mapping[str, Target] = {
    "server": server,
    "client": client,
    "addresses": addresses,
    "globs": globs,
    "replies": replies,
    "dsn": dsn,
    "transcoding": transcoding,
    "config": config,
}
"""By name, for `make fuzz TARGETS="server client"`."""
