"""Where fuzzing begins: for each target what it knows, and the words that inputs are made of."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.attacks.smuggling import DOTS, ENDS
from tests.attacks.test_open_relay import RECIPIENTS, SENDERS
from tests.interop.tools import CHECKOUT
from tests.smtp.test_server_properties import PARTS

_SESSION = b"EHLO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@example.org>\r\n"

_UPSTREAM = (
    b"220 x ESMTP\r\n",
    b"250-x\r\n250-PIPELINING\r\n250-CHUNKING\r\n250-SIZE 1000\r\n250 LIMITS RCPTMAX=1\r\n",
    *(
        b"250 2.1.0 ok\r\n",
        b"354 go\r\n",
        b"421 4.3.2 bye\r\n",
        b"550-5.1.1 no\r\n550 5.1.1 no\r\n",
    ),
    *(b"452 4.5.3 x\r\n", b"554 x\n", b"250", b"-", b" ", b"\xff", b"AUTH PLAIN", b"STARTTLS"),
)

_MAIL = (
    b"From: a@b\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n",
    b"--x\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n",
    *(
        b"\xc3\xbc\r\n",
        b"--x--\r\n",
        b"\r\n",
        b"a" * 998,
        b"Subject: \xc3\xbc\r\n",
        b"\0",
        b" \r\n",
    ),
    *(b"Message-ID: <1@x>\r\n", b"a@b", b"rfc822;a+2Bb", b"utf-8;\xc3\xbc", b"+0D+0A", b"=\r\n"),
)


def _config() -> tuple[bytes, ...]:
    whole = Path(CHECKOUT / "etc" / "relay.toml").read_bytes().replace(b"\n# ", b"\n")
    lines = [line for line in whole.split(b"\n") if line and not line.startswith(b"#")]
    return (whole, *(line + b"\n" for line in lines), b"[[" * 500, b"= " + b"9" * 5000)


def words(target: str) -> Sequence[bytes]:
    """What inputs are put together from."""
    if target == "config":
        return _config()
    return _WORDS[target]


_ADDRESSES = (
    *(form.encode() for form in (*RECIPIENTS, *SENDERS)),
    *(b"TO:", b"FROM:", b"<", b">", b'"', b"\\", b"@", b".", b",", b":", b"[IPv6:::1]", b"xn--"),
    *(b" SIZE=1", b" BODY=8BITMIME", b" SMTPUTF8", b" ENVID=a+2B", b" RET=HDRS", b" NOTIFY=NEVER"),
    *(b" ORCPT=rfc822;a", b" AUTH=<>", b"\xc3\xbc", b"a" * 64, b"a." * 60, b"5 LAST"),
)

_WORDS: Mapping[str, Sequence[bytes]] = {
    "server": (*PARTS, *ENDS, *DOTS, _SESSION, b"STARTTLS\r\n", b"\x88", b"\x08", b"\x18"),
    "client": _UPSTREAM,
    "addresses": _ADDRESSES,
    "globs": (*_ADDRESSES, b"*", b"*@*", b"?", b"\n", b"*a*a*a*a*b", b"[!", b"]"),
    "replies": _UPSTREAM,
    "dsn": _MAIL,
    "transcoding": _MAIL,
}
