"""Processes other than the relay: nothing kills them, and their faults end the run."""

from collections.abc import Callable
from typing import Any


class Bystander:
    """What runs the protocols of simulated clients and upstreams."""

    is_alive = True

    def __init__(self, address: str) -> None:
        self.address = address

    def run(self, act: Callable[..., object], *arguments: Any, **keywords: Any) -> None:
        act(*arguments, **keywords)

    def __repr__(self) -> str:
        return f"<Bystander {self.address}>"
