"""Settings from environment variables, by pydantic-settings' own source.

Beside the full names there are a few short ones, and `<NAME>_FILE` for each: the value is then read from
that file, which is how container platforms hand over secrets.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource

from config.names import (
    GRIDTOKENX_PREFIX,
    GRIDTOKENX_REFUSED,
    GRIDTOKENX_VARIABLES,
    PREFIX,
    RESERVED_PREFIXES,
    SECONDS_VARIABLES,
    fields,
    nearest,
    variable,
    variables,
)

FILE_SUFFIX = "_FILE"
_SECRET_FILE_BYTES = 64 * 1024
_SECS_PER_MINUTE = 60


class EnvironmentSource(EnvSettingsSource):
    """Reads a mapping of variables that have been looked through by `Environment`."""

    def __init__(self, settings_cls: type[BaseSettings], values: Mapping[str, str]) -> None:
        super().__init__(settings_cls, env_prefix=PREFIX, env_nested_delimiter="__", case_sensitive=False)
        self.env_vars = {name.lower(): value for name, value in values.items()}

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """JSON, or the text itself when it is none, so that validation tells of it with all other problems."""
        try:
            return super().decode_complex_value(field_name, field, value)
        except ValueError:
            return value


class Environment:
    """The METAWATT_ variables of an environment, and GridTokenX's, sorted into values by full variable name, and
    problems.

    `origins` gives for each dotted name the variable that it came from.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.values: dict[str, str] = {}
        self.origins: dict[str, str] = {}
        self.problems: list[str] = []
        self._environ = environ
        self._known = variables()
        self._take_settings()
        self._tell_unknown()

    def _take_settings(self) -> None:
        for name in self._known:
            for source in (name, name + FILE_SUFFIX):
                if self._environ.get(source) and (source == name or source not in self._known):
                    self._take(source, name)

    def _take(self, source: str, name: str) -> None:
        dotted = self._known[name]
        if dotted in self.origins:
            return
        value = self._environ[source]
        if source not in self._known:
            try:
                value = _read_small_file(Path(value))
            except (OSError, ValueError) as error:
                self.problems.append(f"{source}: the file cannot be read: {error}")
                return
        self.values[variable(dotted)] = _in_minutes(value) if name in SECONDS_VARIABLES else value
        self.origins[dotted] = source

    def _tell_unknown(self) -> None:
        for name in sorted(self._environ):
            # SOLANA_ is left alone: other programs are configured by such names, too.
            if not name.startswith((PREFIX, GRIDTOKENX_PREFIX)) or name.startswith(RESERVED_PREFIXES):
                continue
            if name not in self._known and name.removesuffix(FILE_SUFFIX) not in self._known:
                self.problems.append(_unknown(name, self._known))


def _read_small_file(path: Path) -> str:
    with path.open("rb") as file:
        content = file.read(_SECRET_FILE_BYTES + 1)
    if len(content) > _SECRET_FILE_BYTES:
        raise ValueError(f"{path} is larger than {_SECRET_FILE_BYTES} bytes")
    return content.decode().strip()


def _in_minutes(secs: str) -> str:
    """The text itself when it is no number, so that validation tells of it."""
    try:
        return str(Decimal(secs) / _SECS_PER_MINUTE)
    except InvalidOperation:
        return secs


def _unknown(name: str, known: Mapping[str, str]) -> str:
    if name in GRIDTOKENX_REFUSED:
        return f"{name}: no such setting: {GRIDTOKENX_REFUSED[name]}; remove it"
    is_own = name.startswith(PREFIX)
    right = _nearest_own(name, known) if is_own else _nearest_of_gridtokenx(name)
    return f"{name}: no such setting" + (f"; did you mean {right}?" if right else "")


def _nearest_own(name: str, known: Mapping[str, str]) -> str | None:
    right = nearest(name, known, separator="__")
    if right is not None:
        return right
    dotted = name.removeprefix(PREFIX).lower().replace("__", ".", 1)
    meant = nearest(dotted, [setting for setting, _ in fields()])
    return None if meant is None else variable(meant)


def _nearest_of_gridtokenx(name: str) -> str | None:
    """By what follows the prefix, which alone makes all of them look alike."""
    leaves = [
        each.removeprefix(GRIDTOKENX_PREFIX) for each in GRIDTOKENX_VARIABLES if each.startswith(GRIDTOKENX_PREFIX)
    ]
    right = nearest(name.removeprefix(GRIDTOKENX_PREFIX), leaves, separator="__")
    return None if right is None else GRIDTOKENX_PREFIX + right
