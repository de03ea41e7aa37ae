"""What every table of the file is, and each item in it: a key with its reason and its default.

The texts are the operators' reference: etc/relay.toml and docs/configuration.rst are generated from
them (`make reference`). Defaults are written as in the file and read by the same code.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


def item(default: Any = ..., about: str = "", example: Any = None, **more: Any) -> Any:
    """A field: its default as written in TOML, what it is, and an example where that differs."""
    shown = default if example is None else example
    examples = None if shown is ... else [shown]
    return Field(default, description=about, examples=examples, validate_default=True, **more)


class Table(BaseModel):
    """A table of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
