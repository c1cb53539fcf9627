"""The commands that work with a registry, as `cli.app` adds them. Each imports what it needs when it is called."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from cli.options import ConfigFile, DataDir, settings_from

DEFAULT_URL = "http://127.0.0.1:8080"
_PANEL = "Work with a registry"
_HERE = "The registry"

Url = Annotated[
    str, typer.Option(metavar="URL", envvar="METAWATT_CLIENT_URL", help="The node.", rich_help_panel=_HERE)
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="File with the token; else it is read from METAWATT_CLIENT_TOKEN.",
        rich_help_panel=_HERE,
    ),
]
Account = Annotated[str, typer.Option(metavar="ID", help="The account.")]
Device = Annotated[str | None, typer.Option(metavar="ID", help="Only of this device.")]
Status = Annotated[str | None, typer.Option(metavar="STATUS", help="Only of this status, such as Active.")]
Source = Annotated[list[str] | None, typer.Option(metavar="SOURCE", help="Only of this energy source.")]
Start = Annotated[str | None, typer.Option("--from", metavar="TIME", help="Produced from this time on.")]
End = Annotated[str | None, typer.Option("--to", metavar="TIME", help="Produced up to this time.")]


class FileForm(StrEnum):
    """The choices of --form."""

    CSV = "csv"
    JSON_LINES = "jsonl"


def bring_in(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV (plain or gzipped): device, start, energy_wh.")],
    account: Account,
    *,
    create_devices: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Register devices that are missing as this JSON list describes them."),
    ] = None,
    chunk: Annotated[int, typer.Option(metavar="N", min=1, max=20_000, help="Readings handed in at once.")] = 2000,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
) -> None:
    """Hand in hourly generation of several devices, and issue certificates of it.

    A run that was cut off is begun again with the same line: what is there already is passed over.
    """
    from cli.registry.connecting import Door
    from cli.registry.importing import run

    run(Door.of(url, token_file), file, account, create_devices, chunk)


def export(
    account: Account,
    *,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Default: standard output.")
    ] = None,
    form: Annotated[FileForm, typer.Option(help="A table, or one JSON object a line.")] = FileForm.CSV,
    device: Device = None,
    status: Status = None,
    source: Source = None,
    start: Start = None,
    end: End = None,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
) -> None:
    """Write all bundles of an account, with the proofs of when they were put on chain."""
    from cli.registry.connecting import Door
    from cli.registry.reading import export as write

    named: Literal["csv", "jsonl"] = "csv" if form is FileForm.CSV else "jsonl"
    write(Door.of(url, token_file), _filters(account, device, status, source, start, end), named, output)


def query(
    account: Account,
    *,
    device: Device = None,
    status: Status = None,
    source: Source = None,
    start: Start = None,
    end: End = None,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="Most bundles to show.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
) -> None:
    """Show bundles of an account."""
    from cli.registry.connecting import Door
    from cli.registry.reading import query as ask

    ask(Door.of(url, token_file), _filters(account, device, status, source, start, end), limit, as_json)


def statement(
    *,
    account: Annotated[str | None, typer.Option(metavar="ID", help="Whose cancellations.")] = None,
    start: Start = None,
    end: End = None,
    issuance: Annotated[str | None, typer.Option(metavar="ID", help="Those of this issuance.")] = None,
    action: Annotated[str | None, typer.Option(metavar="ID", help="Those of this action.")] = None,
    page: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a page (HTML) to print.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The statement as JSON.")] = False,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
) -> None:
    """Print a statement of cancellations: of an account and a time, of an issuance, or of one action."""
    from cli.registry.connecting import Door
    from cli.registry.reading import statement as tell

    question = {"account_id": account, "start": start, "end": end, "issuance_id": issuance, "action_id": action}
    tell(Door.of(url, token_file), question, page, as_json)


def token(
    user: Annotated[str, typer.Argument(metavar="USER", help="The user's id.")],
    *,
    hours: Annotated[float | None, typer.Option(metavar="H", help="How long it is to be good.")] = None,
    config: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Print a token for a user of this node, made with the node's own secret. Keep it out of sight."""
    from cli.registry.tokens import run

    run(settings_from(config=config, data_dir=data_dir), user, hours)


def add_to(app: typer.Typer) -> None:
    """Add the commands to the application."""
    example = "Example: [bold]metawatt import examples/generation-2025-01.csv.gz --account ID "
    example += "--create-devices examples/devices.json --token-file data/admin.token[/]"
    app.command("import", rich_help_panel=_PANEL, epilog=example)(bring_in)
    app.command(rich_help_panel=_PANEL)(export)
    app.command(rich_help_panel=_PANEL)(query)
    app.command(rich_help_panel=_PANEL)(statement)
    app.command(rich_help_panel=_PANEL)(token)


def _filters(
    account: str,
    device: str | None,
    status: str | None,
    sources: list[str] | None,
    start: str | None,
    end: str | None,
) -> dict[str, Any]:
    """The options as a query has them."""
    return {
        "source_account_id": account,
        "device_id": device,
        "certificate_status": status,
        "energy_source": sources or None,
        "certificate_period_start": start,
        "certificate_period_end": end,
    }
