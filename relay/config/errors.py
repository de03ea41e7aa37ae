"""Says what is wrong with a configuration in an operator's words, one line with its TOML path each.

Works for any pydantic model; what it proposes ("write e.g. ...") is the field's own example.
"""

import re
from collections.abc import Iterable
from difflib import get_close_matches
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

Location = tuple[int | str, ...]

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")

MAX_SHOWN = 60
"""Characters shown of a wrong value."""


def explain(model: type[BaseModel], error: ValidationError) -> list[str]:
    """Every error of a validation, in the file's order as far as pydantic keeps it."""
    errors = error.errors(include_url=False)
    places = [each["loc"] for each in errors]
    return [_line(model, each) for each in errors if not _is_echo(each, places)]


def _is_echo(error: Any, places: list[Location]) -> bool:
    """A list whose entries are wrong is told to be empty too: nobody needs that."""
    here = error["loc"]
    return error["type"] == "too_short" and any(
        len(place) > len(here) and place[: len(here)] == here for place in places
    )


def toml_path(location: Iterable[int | str]) -> str:
    """("listener", 0, "name") → listener[0].name"""
    path = ""
    for step in location:
        if isinstance(step, int):
            path += f"[{step}]"
        else:
            key = step if _BARE_KEY.fullmatch(step) else ascii(step)
            path += f".{key}" if path else key
    return path


def toml(value: Any) -> str:
    """A value as it is written in TOML (text, numbers, truth values, lists)."""
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return str(value)


def _line(model: type[BaseModel], error: Any) -> str:
    location: Location = error["loc"]
    table, field = _field_at(model, location)
    say = _WORDS.get(error["type"])
    what = say(error, table, field) if say else error["msg"]
    return f"{toml_path(location)}: {what}" if location else what


def _field_at(
    model: type[BaseModel], location: Location
) -> tuple[type[BaseModel], FieldInfo | None]:
    """The table that a location ends in, and its field there (None where there is none)."""
    table, field = model, None
    for step in location:
        if isinstance(step, int):
            continue
        if field is not None:
            table = table_of(field.annotation) or table
        field = fields_by_key(table).get(step)
        if field is None:
            break
    return table, field


def fields_by_key(table: type[BaseModel]) -> dict[str, FieldInfo]:
    """The fields under the names they have in the file."""
    return {field.alias or name: field for name, field in table.model_fields.items()}


def table_of(annotation: Any) -> type[BaseModel] | None:
    """The model of a field that is a table, a list of tables, or an optional table."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (tuple, Union, UnionType):
        for part in get_args(annotation):
            if (found := table_of(part)) is not None:
                return found
    return None


def _unknown_key(error: Any, table: type[BaseModel], _: FieldInfo | None) -> str:
    key = str(error["loc"][-1])
    known = list(fields_by_key(table))
    close = get_close_matches(key, known, 1)
    hint = f"did you mean {close[0]}?" if close else f"known here: {', '.join(known)}"
    return f"unknown key; {hint}"


def _missing(error: Any, _: type[BaseModel], field: FieldInfo | None) -> str:
    key = error["loc"][-1]
    if field is not None and table_of(field.annotation):
        return f"is missing; add {_header(key, field)}"
    return f"is missing; write e.g. {key} = {_example(field)}"


def _not_a_list(error: Any, _: type[BaseModel], field: FieldInfo | None) -> str:
    if field is not None and table_of(field.annotation):
        return f"must be a list of tables; write {_header(error['loc'][-1], field)}"
    return f"must be a list; write e.g. {_example(field)}"


def _not_a_table(error: Any, _: type[BaseModel], field: FieldInfo | None) -> str:
    key = next(step for step in reversed(error["loc"]) if isinstance(step, str))
    return f"must be a table; write {_header(key, field)}"


def _header(key: str, field: FieldInfo | None) -> str:
    is_list = field is not None and get_origin(field.annotation) is tuple
    return f"[[{key}]] and its keys below" if is_list else f"[{key}] and its keys below"


def _wrong_kind(kind: str) -> Any:
    def say(error: Any, _: type[BaseModel], field: FieldInfo | None) -> str:
        example = "" if field is None else f", e.g. {_example(field)}"
        return f"{_shown(error['input'])} must be {kind}{example}"

    return say


def _bound(words: str, limit: str) -> Any:
    def say(error: Any, _: type[BaseModel], __: FieldInfo | None) -> str:
        return f"{_shown(error['input'])} {words} {error['ctx'][limit]}"

    return say


def _own_words(error: Any, _: type[BaseModel], __: FieldInfo | None) -> str:
    return str(error["ctx"]["error"])


def _one_of(error: Any, _: type[BaseModel], __: FieldInfo | None) -> str:
    return f"{_shown(error['input'])} is not known; write {error['ctx']['expected']}"


def _too_short(_: Any, __: type[BaseModel], field: FieldInfo | None) -> str:
    return f"must not be empty; write e.g. {_example(field)}"


def _too_long(error: Any, _: type[BaseModel], __: FieldInfo | None) -> str:
    return f"has more than {error['ctx']['max_length']} entries"


def _example(field: FieldInfo | None) -> str:
    return toml(field.examples[0]) if field is not None and field.examples else '"..."'


def _shown(value: Any) -> str:
    text = toml(value)
    text = text if text.isprintable() else ascii(text)
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "..."


_WORDS = {
    "extra_forbidden": _unknown_key,
    "missing": _missing,
    "tuple_type": _not_a_list,
    "model_type": _not_a_table,
    "dict_type": _not_a_table,
    "value_error": _own_words,
    "literal_error": _one_of,
    "string_type": _wrong_kind("text in quotes"),
    "int_type": _wrong_kind("a whole number"),
    "bool_type": _wrong_kind("true or false"),
    "greater_than_equal": _bound("is too small; the least is", "ge"),
    "less_than_equal": _bound("is too large; the most is", "le"),
    "too_short": _too_short,
    "too_long": _too_long,
}
