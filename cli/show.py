"""`metawatt settings` and `metawatt version`."""

from __future__ import annotations

import json
import platform
import sys
from importlib.metadata import version
from typing import Any, Final

from config.logging import mask_path, mask_url
from config.manual import manual
from config.settings import Settings

_RENTED: Final = ("rpc_url", "ws_url", "witness_rpc_urls")
"""Addresses whose path may be a key."""


def print_manual() -> None:
    """Write docs/SETTINGS.md to standard output."""
    sys.stdout.write(manual())


def print_settings(settings: Settings) -> None:
    """Write the settings in force as TOML; a setting without a value is a comment."""
    for section, values in settings.model_dump(mode="json").items():
        sys.stdout.write(f"[{section}]\n")
        for name, value in values.items():
            shown = _without_path(value) if name in _RENTED else value
            line = f"# {name} is not set" if shown is None else f"{name} = {_toml(shown)}"
            sys.stdout.write(line + "\n")
        sys.stdout.write("\n")


def _without_path(value: Any) -> Any:
    """Of an address, or of a list of them."""
    if isinstance(value, list):
        return list(map(mask_path, value))
    return None if value is None else mask_path(value)


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, str):
        return json.dumps(mask_url(value), ensure_ascii=False)
    return json.dumps(value)


def print_version() -> None:
    """Write the versions that a bug report needs."""
    sys.stdout.write(
        f"metawatt {version('metawatt')} (Python {platform.python_version()}, bsv-sdk {version('bsv-sdk')})\n"
    )
