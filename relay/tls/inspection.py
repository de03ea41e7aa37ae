"""What is wrong or doubtful with the TLS files that a configuration names, on either side."""

from relay.config.reading import Config
from relay.tls import client, files, key_modes


def problems(config: Config) -> list[str]:
    """Files that cannot be used: the relay does not start."""
    return [*files.problems(config.listeners), *client.problems(config.upstreams)]


def warnings(config: Config) -> list[str]:
    """What is allowed and probably not meant."""
    return [*files.warnings(config.listeners), *key_modes.doubts(config)]


def notes(config: Config) -> list[str]:
    """What is right, and may be news all the same."""
    return key_modes.notes(config)
