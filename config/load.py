"""Reads the settings: command line over environment over TOML file over defaults.

Whatever is wrong is told at once, with where it was said. Values are never repeated, since any may be secret.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError, create_model
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, TomlConfigSettingsSource

from config.environment import Environment, EnvironmentSource
from config.errors import ErrorCode, MetawattError
from config.mirroring import against_mirroring
from config.names import CONFIG_VARIABLE, SHORT_VARIABLES, fields, nearest, sections
from config.settings import IssuerSettings, Settings

STORAGE_SCHEMES = ("sqlite:///", "mongodb://", "mongodb+srv://")


class SettingsInvalid(MetawattError):
    """The settings cannot be used; `problems` has a line for each fault."""

    default_code = ErrorCode.SETTINGS_INVALID

    def __init__(self, problems: list[str]) -> None:
        many = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__("\n  ".join([f"{many} in the settings:", *problems]))
        self.problems = tuple(problems)


# The class that pydantic-settings' sources look at to know the fields.
_FIELDS: dict[str, Any] = {name: (model, model()) for name, model in sections()}
_Sources = create_model("_Sources", __base__=BaseSettings, **_FIELDS)


def load_settings(
    config_file: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """The settings in force.

    `overrides` come from the command line, by dotted name (`node.port`); a None is no override.
    `config_file` defaults to what METAWATT_CONFIG names. Raises `SettingsInvalid` with every problem.
    """
    environ = os.environ if environ is None else environ
    config_file = config_file or (Path(name) if (name := environ.get(CONFIG_VARIABLE)) else None)
    environment = Environment(environ)
    problems = list(environment.problems)
    layers = [
        _Layer("command line", _nest(overrides or {})),
        _Layer("environment", EnvironmentSource(_Sources, environment.values)()),
        _Layer(str(config_file), _read_toml(config_file, problems)),
    ]
    settings = _validate(layers, environment, problems)
    if settings is not None:
        problems += _contradictions(settings)
    if problems or settings is None:
        raise SettingsInvalid(problems)
    return settings


class _Layer:
    """One place where settings are said, and what it says."""

    def __init__(self, place: str, values: dict[str, Any]) -> None:
        self.place = place
        self.values = values

    def says(self, location: tuple[int | str, ...]) -> bool:
        """Whether this layer says anything at `location`, e.g. ("node", "port")."""
        value: Any = self.values
        for part in location[:2]:
            if not isinstance(value, Mapping) or part not in value:
                return False
            value = value[part]
        return True


def _nest(overrides: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name, value in overrides.items():
        if value is not None:
            section, _, key = name.partition(".")
            nested.setdefault(section, {})[key] = value
    return nested


def _read_toml(path: Path | None, problems: list[str]) -> dict[str, Any]:
    if path is None:
        return {}
    if not path.is_file():
        problems.append(f"{path}: there is no such configuration file")
        return {}
    try:
        return TomlConfigSettingsSource(_Sources, toml_file=path)()
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        problems.append(f"{path}: not readable as TOML: {error}")
        return {}


def _merge(layers: list[_Layer]) -> dict[str, Any]:
    """Sections merge key by key; every other value is taken whole from the strongest layer that says it."""
    merged: dict[str, Any] = {}
    for name in {name: None for layer in layers for name in layer.values}:
        said = [layer.values[name] for layer in layers if name in layer.values]
        value = said[-1]
        for stronger in reversed(said[:-1]):
            value = {**value, **stronger} if isinstance(value, dict) and isinstance(stronger, dict) else stronger
        merged[name] = value
    return merged


def _validate(layers: list[_Layer], environment: Environment, problems: list[str]) -> Settings | None:
    try:
        return Settings.model_validate(_merge(layers))
    except ValidationError as error:
        details = error.errors(include_input=False, include_context=False, include_url=False)
        problems += [_problem(detail, layers, environment) for detail in details]
        return None


def _problem(detail: ErrorDetails, layers: list[_Layer], environment: Environment) -> str:
    location = detail["loc"]
    dotted = ".".join(str(part) for part in location)
    layer = next((layer for layer in layers if layer.says(location)), None)
    variable = environment.origins.get(".".join(str(part) for part in location[:2]))
    if layer is None:
        where = dotted
    elif layer.place == "environment" and variable:
        where = variable
    else:
        where = f"{layer.place}: {dotted}"
    return f"{where}: {_sentence(detail, dotted)}"


def _sentence(detail: ErrorDetails, dotted: str) -> str:
    if detail["type"] == "extra_forbidden":
        right = nearest(dotted, _known_beside(detail["loc"]))
        return "no such setting" + (f"; did you mean {right}?" if right else "")
    if detail["type"] in ("tuple_type", "dict_type", "model_type"):
        return f"{detail['msg']} (in the environment: as JSON)"
    return detail["msg"]


def _known_beside(location: tuple[int | str, ...]) -> Iterator[str]:
    """The dotted names that could stand at an unknown name's place."""
    if len(location) == 1:
        yield from (name for name, _ in sections())
        yield from SHORT_VARIABLES.values()
    elif len(location) == 2:
        yield from (name for name, _ in fields())
    else:
        parent = ".".join(str(part) for part in location[:-1])
        yield from (f"{parent}.{name}" for name in IssuerSettings.model_fields)


def _contradictions(settings: Settings) -> list[str]:
    """What is right by itself, but not together."""
    found = []
    node, chain = settings.node, settings.chain
    if settings.storage.uri and not settings.storage.uri.startswith(STORAGE_SCHEMES):
        found.append(f"storage.uri: starts with none of {', '.join(STORAGE_SCHEMES)}")
    if node.hosting_url and not node.hosting_url.startswith(("https://", "http://")):
        found.append("node.hosting_url: must be an http(s) URL")
    if node.network != "dev" and not chain.headers_url:
        found.append(f"chain.headers_url: required on the {node.network} network")
    if node.network != "dev" and settings.engine.broadcast and not chain.arc_url:
        found.append(f"chain.arc_url: required on the {node.network} network, or set engine.broadcast to false")
    if settings.bridge.enabled and (reason := against_mirroring(settings)):
        found.append(f"bridge.enabled: {reason}; or set bridge.enabled to false")
    return found
