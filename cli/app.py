"""The commands of `metawatt`. Each imports what it needs when it is called, so that help and the doctor work
where the engine cannot be loaded, and start quickly.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.options import (
    ConfigFile,
    DataDir,
    Host,
    NetworkOption,
    Port,
    StorageUri,
    settings_from,
)
from cli.registry.commands import add_to
from cli.simulate_command import add_to as add_simulator_to

_ABOUT = """METAWATT: an overlay node for granular energy certificates on the BSV blockchain.

Wallets submit certificates to topics by energy source and region; buyers query and check the proofs.
"""
_EXAMPLES = """Try it: [bold]metawatt demo[/]. Run it: [bold]metawatt serve --data-dir data[/].
When something is wrong: [bold]metawatt doctor[/].

Exit status: 0 done; 1 a check, a play or the node failed; 2 wrong command line or settings;
3 storage, chain or Solana not to be had."""

_RUN, _CARE, _TELL = "Run", "Look after", "Tell"

app = typer.Typer(
    help=_ABOUT,
    epilog=_EXAMPLES,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
)


@app.command(
    rich_help_panel=_RUN, epilog="Example: [bold]metawatt serve --network dev --data-dir data --port 8080[/]"
)
def serve(
    *,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    network: NetworkOption = None,
    storage: StorageUri = None,
    host: Host = None,
    port: Port = None,
) -> None:
    """Run the node until SIGTERM or Ctrl-C, which let requests and broadcasts finish first."""
    from cli.serve import run

    run(settings_from(config=config, data_dir=data_dir, network=network, storage=storage, host=host, port=port))


@app.command(rich_help_panel=_RUN, epilog="Example: [bold]metawatt demo --once[/]")
def demo(
    *,
    once: Annotated[bool, typer.Option("--once", help="End after the play instead of staying up.")] = False,
    port: Annotated[
        int, typer.Option(metavar="P", min=0, max=65535, help="Port to listen on; 0 takes a free one.")
    ] = 8080,
    data_dir: DataDir = None,
) -> None:
    """Play the node's main jobs on chains of its own: issue, submit, prove, query, move, split, cancel;
    a meter's readings become tokens, and energy crosses the bridge both ways.

    Without --data-dir everything is kept in a temporary folder and removed in the end.
    """
    from cli.demo import run

    run(port=port, once=once, data_dir=data_dir)


@app.command(rich_help_panel=_RUN, epilog="Example: [bold]metawatt solana --data-dir cluster --slot-ms 100[/]")
def solana(
    *,
    host: Annotated[str, typer.Option(metavar="H", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(
            metavar="P", min=0, max=65534, help="Port of JSON-RPC; WebSocket is one higher. 0 takes free ones."
        ),
    ] = 8899,
    data_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the chain. Default: a temporary one.")
    ] = None,
    slot_ms: Annotated[int, typer.Option(metavar="MS", min=1, help="Length of a slot.")] = 400,
    program: Annotated[
        list[str] | None, typer.Option(metavar="ID=FILE", help="A program's ELF (.so) under its address.")
    ] = None,
) -> None:
    """Run a Solana cluster of one process for development: real token programs, simulated finality.

    Any client of Solana can be pointed at it. A transaction is final after 31 slots.
    """
    from cli.solana import run

    run(host=host, port=port, data_dir=data_dir, slot_ms=slot_ms, programs=program or ())


@app.command(rich_help_panel=_CARE)
def doctor(
    *,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    network: NetworkOption = None,
    storage: StorageUri = None,
) -> None:
    """Check settings, data folder, keys, storage, chain services, Solana and clock, and say what to do."""
    from cli.doctor import run

    run(lambda: settings_from(config=config, data_dir=data_dir, network=network, storage=storage))


@app.command(rich_help_panel=_CARE, epilog="Example: [bold]metawatt reindex --service ls_metawatt[/]")
def reindex(
    *,
    service: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only this lookup service, or `registry`; default: all.")
    ] = None,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    network: NetworkOption = None,
    storage: StorageUri = None,
) -> None:
    """Build lookup indexes and the registry anew from what is stored. Stop the node first."""
    from cli.reindex import run

    run(settings_from(config=config, data_dir=data_dir, network=network, storage=storage), service)


@app.command(rich_help_panel=_CARE)
def check(
    *,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    network: NetworkOption = None,
    storage: StorageUri = None,
) -> None:
    """Verify the invariants on what is stored; the node may be running. See docs/INVARIANTS.md."""
    from cli.check import run

    run(settings_from(config=config, data_dir=data_dir, network=network, storage=storage))


@app.command(rich_help_panel=_CARE, epilog="Example: [bold]metawatt audit receipt.json --headers headers.json[/]")
def audit(
    receipts: Annotated[list[Path], typer.Argument(metavar="RECEIPT...", help="Receipts of the bridge.")],
    *,
    headers: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Headers that you trust: JSON, a header or its hash by height, or headers of 80 bytes in a row.",
        ),
    ] = None,
    issuer: Annotated[
        str | None, typer.Option(metavar="HEX", help="Identity key of the issuer that you expect.")
    ] = None,
    bridge: Annotated[
        str | None, typer.Option(metavar="HEX", help="Identity key of the bridge that you expect.")
    ] = None,
) -> None:
    """Check receipts of the bridge offline: nothing but the files named here is read.

    Exit status: 0 all is proven; 1 something is wrong; 3 something is open, as blocks are without headers.
    """
    from cli.audit import run

    run(receipts, headers, issuer, bridge)


@app.command(rich_help_panel=_CARE, epilog="Example: [bold]metawatt parity --url http://127.0.0.1:8080[/]")
def parity(
    *,
    url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Ask a running node. Default: the database of one that is stopped."),
    ] = None,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    network: NetworkOption = None,
    storage: StorageUri = None,
) -> None:
    """Recompute from both chains whether tokens in custody are the certificates that live, to the base unit.

    Exit status 1 when they are not.
    """
    from cli.parity import run

    run(settings_from(config=config, data_dir=data_dir, network=network, storage=storage), url)


@app.command(
    "solana-replay", rich_help_panel=_CARE, epilog="Example: [bold]metawatt solana-replay --from-slot 350000000[/]"
)
def solana_replay(
    *,
    from_slot: Annotated[int, typer.Option(metavar="N", min=0, help="The first slot that is applied anew.")],
    config: ConfigFile = None,
    data_dir: DataDir = None,
    host: Annotated[str | None, typer.Option(metavar="H", help="Where the node listens.")] = None,
    port: Annotated[int | None, typer.Option(metavar="P", min=1, max=65535, help="The node's port.")] = None,
) -> None:
    """Have the running node apply Solana's history anew from a slot on. Nothing is minted, or recorded twice."""
    from cli.bridge_replay import run

    run(settings_from(config=config, data_dir=data_dir, host=host, port=port), from_slot)


@app.command(rich_help_panel=_TELL)
def settings(
    *,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print docs/SETTINGS.md instead.")] = False,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    network: NetworkOption = None,
    storage: StorageUri = None,
) -> None:
    """Print the settings in force, secrets masked."""
    from cli.show import print_manual, print_settings

    if markdown:
        print_manual()
    else:
        print_settings(settings_from(config=config, data_dir=data_dir, network=network, storage=storage))


@app.command(rich_help_panel=_TELL)
def version() -> None:
    """Print the versions of METAWATT, Python and bsv-sdk."""
    from cli.show import print_version

    print_version()


add_to(app)
add_simulator_to(app)
