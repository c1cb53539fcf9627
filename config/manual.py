"""Writes docs/SETTINGS.md from the settings classes, so that the manual cannot differ from the code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from inspect import getdoc
from typing import Any

from pydantic import BaseModel

from config.names import GRIDTOKENX_VARIABLES, SECONDS_VARIABLES, SHORT_VARIABLES, sections, variable
from config.settings import IssuerSettings

_HEAD = """\
# Settings

<!-- Made by `make settings` from config/settings.py; do not edit by hand. -->

Where a setting is given more than once, the strongest place counts:

1. the command line (`metawatt serve --help` lists the options),
2. the environment: the variable named below; lists and tables as JSON,
3. a TOML file, named by `--config` or `METAWATT_CONFIG`: a table for each section,
4. the default.

A name that is not known stops the start and is answered with the nearest right one. Secrets are never taken
from the command line. Any variable may instead be given as `<NAME>_FILE`: the value is then the content of that
file, as container platforms hand over secrets. An empty variable counts as not given.

```toml
[node]
network = "dev"
port = 8080

[[topics.issuers]]
identity_key = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
name = "Example issuing body"
regions = ["DE"]
```
"""

_GRIDTOKENX = """\
## GridTokenX's names

The environment of GridTokenX's gateway can be taken over. Where a setting has a variable of its own as well, that
one counts. A `TOKENIZATION_` variable that is not listed stops the start, as an unknown `METAWATT_` one does; other
programs' `SOLANA_` variables are passed over."""

_FOOT = """\
On Kubernetes, a Service that is called `metawatt` makes variables such as `METAWATT_PORT` in every pod of its
namespace, which would be taken for settings: put `enableServiceLinks: false` into the node's pod.
"""


def manual() -> str:
    """The whole of docs/SETTINGS.md."""
    return "\n".join([_HEAD, *_section_parts(), _short_names(), _gridtokenx_names(), _FOOT])


def _section_parts() -> Iterator[str]:
    for name, model in sections():
        yield _part(f"## `[{name}]`", model, name)
        if name == "topics":
            yield _part("### `[[topics.issuers]]`", IssuerSettings, None)


def _part(title: str, model: type[BaseModel], section: str | None) -> str:
    lines = [title, "", str(getdoc(model)), ""]
    lines += ["| name | values | default | what it is |", "| --- | --- | --- | --- |"]
    schema = model.model_json_schema()
    for name, field in model.model_fields.items():
        told = schema["properties"][name]
        first = f"`{name}`" + (f"<br>`{variable(f'{section}.{name}')}`" if section else "")
        default = "required" if field.is_required() else _default(field.get_default(call_default_factory=True))
        description = (field.description or "").replace("<", "&lt;")
        lines.append(f"| {first} | {_values(told)} | {default} | {description} |")
    return "\n".join([*lines, ""])


def _default(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool | int | float | list | tuple | dict):
        return f"`{json.dumps(value)}`"
    return f"`{value}`"


def _values(schema: dict[str, Any]) -> str:
    """The type and bounds of a setting in words."""
    if "anyOf" in schema:
        return next(_values(option) for option in schema["anyOf"] if option.get("type") != "null")
    if "enum" in schema:
        return ", ".join(f"`{choice}`" for choice in schema["enum"])
    words = {"integer": "whole number", "number": "number", "boolean": "`true`, `false`", "array": "list"}
    word = words.get(schema.get("type", ""), "table" if schema.get("type") == "object" else "text")
    word = {"path": "path", "password": "secret"}.get(schema.get("format", ""), word)
    return word + _bounds(schema)


def _bounds(schema: dict[str, Any]) -> str:
    told = []
    if "exclusiveMinimum" in schema:
        told.append(f"above {schema['exclusiveMinimum']:g}")
    if "minimum" in schema:
        told.append(f"{schema['minimum']} or more" if "maximum" not in schema else f"{schema['minimum']}")
    if "maximum" in schema:
        told.append(f"{schema['maximum']}" if "minimum" in schema else f"at most {schema['maximum']}")
    return (", " + " to ".join(told)) if told else ""


def _short_names() -> str:
    return _aliases("## Short names", {short: f"`{variable(name)}`" for short, name in SHORT_VARIABLES.items()})


def _gridtokenx_names() -> str:
    told = {
        alias: f"`{variable(name)}`" + (", in seconds" if alias in SECONDS_VARIABLES else "")
        for alias, name in GRIDTOKENX_VARIABLES.items()
    }
    return _aliases(_GRIDTOKENX, told)


def _aliases(head: str, told: dict[str, str]) -> str:
    lines = [head, "", "| variable | the same as |", "| --- | --- |"]
    lines += [f"| `{alias}` | {meant} |" for alias, meant in told.items()]
    return "\n".join([*lines, ""])
