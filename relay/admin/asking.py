"""Asks for a password: at the terminal, or on standard input where that is wanted."""

import sys

import click

from relay.admin import tables
from relay.admin.desk import Failed
from relay.smtp.sasl.server import MAX_PASSWORD


def ask_password(name: str, *, from_stdin: bool, is_new: bool = False) -> str:
    """A last line end of standard input is not part of it. `is_new`: it is typed twice."""
    if from_stdin:
        octets = sys.stdin.buffer.read(MAX_PASSWORD + 3)
        text = octets.removesuffix(b"\n").removesuffix(b"\r")
        return text.decode("utf-8", "surrogateescape")
    if not sys.stdin.isatty():
        raise Failed("there is no terminal to ask for the password; add --password-stdin")
    prompt = f"Password of {tables.safe(name)}"
    return str(click.prompt(prompt, hide_input=True, confirmation_prompt=is_new))
