"""The options that several commands have, and the settings that follow from them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from config.load import load_settings
from config.settings import Settings

NODE = "The node"


class NetworkName(StrEnum):
    """The choices of --network."""

    DEV = "dev"
    TEST = "test"
    MAIN = "main"


ConfigFile: TypeAlias = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="TOML file with settings.", rich_help_panel=NODE)
]
DataDir: TypeAlias = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Folder of the database, the key and the dev chain.", rich_help_panel=NODE),
]
NetworkOption: TypeAlias = Annotated[
    NetworkName | None, typer.Option("--network", help="The chain.", rich_help_panel=NODE)
]
StorageUri: TypeAlias = Annotated[
    str | None,
    typer.Option("--storage", metavar="URI", help="sqlite:///PATH or mongodb://HOST/NAME.", rich_help_panel=NODE),
]
Host: TypeAlias = Annotated[str | None, typer.Option(metavar="H", help="Address to listen on.")]
Port: TypeAlias = Annotated[int | None, typer.Option(metavar="P", help="Port to listen on; 0 takes a free one.")]


def settings_from(
    *,
    config: Path | None = None,
    data_dir: Path | None = None,
    network: NetworkName | None = None,
    storage: str | None = None,
    host: str | None = None,
    port: int | None = None,
) -> Settings:
    """The settings, with what the command line says on top; `SettingsInvalid` when they cannot be used."""
    overrides: dict[str, Any] = {
        "node.data_dir": data_dir,
        "node.network": network.value if network else None,
        "node.host": host,
        "node.port": port,
        "storage.uri": storage,
    }
    return load_settings(config, overrides)
