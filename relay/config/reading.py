"""Makes a Config of a TOML file, or tells everything that is wrong with it at once."""

import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from relay.config.checks import contradictions, doubts
from relay.config.errors import explain
from relay.config.profiles import filled
from relay.config.schema import Settings

MAX_FILE_SIZE = 4 << 20
"""Octets of a configuration file: far above any real one; something else was named by mistake."""


class ConfigError(Exception):
    """The file cannot be used. `problems`: every one found, a line each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Config(Settings):
    """A checked configuration."""

    def warnings(self) -> list[str]:
        """What is allowed and probably not meant, a line each."""
        return doubts(self)


def load(path: str | Path) -> Config:
    """Read and check a file. Raises ConfigError with all problems at once."""
    path = Path(path)
    return check(parse(_read(path), path), path.resolve().parent)


def spool_in(path: Path) -> Path | None:
    """The directory of `queue.store` in a file that has mistakes elsewhere; None: not to be had."""
    try:
        store = parse(_read(path), path)["queue"]["store"]
        kind, _, place = store.partition(":")
    except (ConfigError, LookupError, TypeError, AttributeError):
        return None
    return path.resolve().parent / place if kind == "sqlite" and place else None


def check(tables: dict[str, Any], folder: Path) -> Config:
    """Check what TOML gave; relative paths start at `folder`. Raises ConfigError."""
    try:
        raw = filled(_tuples(tables))
    except RecursionError:
        raise ConfigError(["tables within tables, far deeper than any key lies"]) from None
    problems = contradictions(raw)
    try:
        config = Config.model_validate(raw, context={"folder": folder})
    except ValidationError as error:
        problems = explain(Config, error) + problems
    if problems:
        raise ConfigError(problems)
    return config


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            octets = file.read(MAX_FILE_SIZE + 1)
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from None
    if len(octets) > MAX_FILE_SIZE:
        raise ConfigError([f"{path}: larger than 4 MiB: this is not a configuration file"])
    return octets


def parse(octets: bytes, path: Path) -> dict[str, Any]:
    """The tables in a file's octets; `path` is for what is said of it. Raises ConfigError."""
    try:
        return tomllib.loads(octets.decode().replace("\r\n", "\n"))
    except UnicodeDecodeError:
        raise ConfigError([f"{path}: not UTF-8 text; save it as UTF-8"]) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([_syntax_error(path, str(error))]) from None
    except (RecursionError, ValueError):  # tomllib's own: brackets in brackets, endless digits
        raise ConfigError([f"{path}: nested too deeply, or a number too long"]) from None


def _syntax_error(path: Path, text: str) -> str:
    """tomllib says "What (at line 3, column 5)"; editors like FILE:LINE:COLUMN first."""
    what, _, place = text.removesuffix(")").partition(" (at line ")
    line, _, column = place.partition(", column ")
    return f"{path}:{line}:{column}: {what}" if column else f"{path}: {text}"


def _tuples(value: Any) -> Any:
    """TOML's lists as tuples, so that strict checks of types hold for all the rest."""
    if isinstance(value, list):
        return tuple(_tuples(item) for item in value)
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return value
