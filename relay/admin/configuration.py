"""Reads a configuration as the relay uses it: with all the files that it names."""

from pathlib import Path

from relay.config import Config, ConfigError, load
from relay.outbound.identity import making
from relay.tls import inspection


def read(path: Path) -> Config:
    """Raises ConfigError with every mistake at once."""
    config = load(path)
    if found := [*inspection.problems(config), *making.problems(config.upstreams)]:
        raise ConfigError(found)
    return config


def warnings(config: Config) -> list[str]:
    """What is allowed and probably not meant, a line each."""
    return [*config.warnings(), *inspection.warnings(config)]
