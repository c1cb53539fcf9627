"""The command `metawatt simulate`, as `cli.app` adds it. It imports what it needs when it is called."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

_PANEL = "Meters and tokens"
_METERS = "The meters"
_NODE = "The gateway"
_CLUSTER = "The tokens"

_EXAMPLE = "Example: [bold]metawatt simulate --meters 50 --interval 5 --count 12[/]"


class Kind(StrEnum):
    """The choices of --kind."""

    SOLAR = "solar"
    WIND = "wind"
    LOAD = "load"


class Form(StrEnum):
    """The choices of --format."""

    GRIDTOKENX = "gridtokenx"
    COLON = "colon"
    DEVICE = "device"


def simulate(
    *,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="YAML: api_gateway, meter, signing, as GridTokenX's simulator has it."),
    ] = None,
    meters: Annotated[
        int, typer.Option(metavar="N", min=1, max=10_000, help="How many.", rich_help_panel=_METERS)
    ] = 1,
    first: Annotated[
        str | None,
        typer.Option(
            metavar="SERIAL",
            help="Serial of the first one; the others are counted on. Default: METER-001.",
            rich_help_panel=_METERS,
        ),
    ] = None,
    kind: Annotated[
        Kind | None,
        typer.Option(help="What stands beside the household. Default: a mix.", rich_help_panel=_METERS),
    ] = None,
    interval: Annotated[
        int | None,
        typer.Option(
            metavar="SECS",
            min=1,
            max=3600,
            help="Between readings; it divides an hour. Default: 300.",
            rich_help_panel=_METERS,
        ),
    ] = None,
    count: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Intervals; default: until Ctrl-C.", rich_help_panel=_METERS),
    ] = None,
    speed: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            max=10_000,
            help="How many times faster days and seasons go by.",
            rich_help_panel=_METERS,
        ),
    ] = 1,
    seed: Annotated[
        int, typer.Option(metavar="N", help="Draws places, weather and clocks.", rich_help_panel=_METERS)
    ] = 1,
    skew: Annotated[
        float,
        typer.Option(
            metavar="SECS", min=0, max=3600, help="How far clocks are off at most.", rich_help_panel=_METERS
        ),
    ] = 2.0,
    form: Annotated[Form, typer.Option("--format", help="What is signed.", rich_help_panel=_METERS)] = (
        Form.GRIDTOKENX
    ),
    keys: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Keys of meters and wallets, made where missing. Default: simulator in --data-dir.",
            rich_help_panel=_METERS,
        ),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            envvar="METAWATT_CLIENT_URL",
            help="The node. Default: http://127.0.0.1:8080.",
            rich_help_panel=_NODE,
        ),
    ] = None,
    batch: Annotated[
        bool, typer.Option("--batch", help="Hand in many readings a call.", rich_help_panel=_NODE)
    ] = False,
    data_dir: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            help="The node's data folder: with its admin.token meters are registered.",
            rich_help_panel=_NODE,
        ),
    ] = Path("data"),
    token_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The operator's token, elsewhere; else METAWATT_CLIENT_TOKEN.",
            rich_help_panel=_NODE,
        ),
    ] = None,
    rpc: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="The cluster's JSON-RPC. Default: that within a dev node.",
            rich_help_panel=_CLUSTER,
        ),
    ] = None,
    mint: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="The token. Default: what the node says.", rich_help_panel=_CLUSTER),
    ] = None,
    wait: Annotated[
        float,
        typer.Option(metavar="SECS", min=0, help="How long tokens may take in the end.", rich_help_panel=_CLUSTER),
    ] = 180.0,
) -> None:
    """Run smart meters: sun, wind and households that sign readings and hand them in.

    With the operator's token meters are registered; else their keys must be known to the gateway
    (solana-keygen pubkey data/simulator/METER-001.meter.json). In the end the wallets' balances are compared
    with what was accepted: exit status 1 when they differ.
    """
    from bridge.meters.formats import Format
    from bridge.simulator.config_file import SimulatorConfig, read_config
    from bridge.simulator.plan import READINGS_A_CALL, planned
    from bridge.simulator.site import SiteKind
    from cli.simulate import Around, run

    plan = planned(
        SimulatorConfig() if config is None else read_config(config),
        url=url,
        meters=meters,
        first_serial=first,
        interval_secs=interval,
        count=count,
        speed=speed,
        seed=seed,
        skew_secs=skew,
        kind=None if kind is None else SiteKind(kind.value),
        form=Format(form.value),
        keys=keys or data_dir / "simulator",
        readings_a_call=READINGS_A_CALL if batch else 1,
    )
    run(plan, Around(data_dir, token_file, rpc, mint, wait))


def add_to(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(rich_help_panel=_PANEL, epilog=_EXAMPLE)(simulate)
