"""The doctor on Solana: the cluster, the mint, the minting key and its SOL, notices, and polling."""

from __future__ import annotations

import socket
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from spl.token.constants import TOKEN_PROGRAM_ID

from api.metering import KEY_FILE
from api.solana.server import SolanaServer
from bridge.cluster.cluster import Cluster
from bridge.connecting import Connecting
from bridge.minting.config import ConfigShelf
from bridge.programs.keys import FileSigner, keypair_in
from bridge.programs.setup import create_mint, fund
from bridge.records import BRIDGE_COLLECTIONS, CONFIG, CURSORS
from bridge.solana.client import ClusterClient
from cli.doctor import examine
from cli.finding import Finding, Verdict
from cli.solana_checks import check_solana
from config.load import load_settings
from config.settings import Settings
from overlay.clock import system_now_ms
from store.port import Insert
from store.sqlite import SqliteStore
from tests.cli.test_commands import metawatt

SOL = 10**9
NOWHERE = "http://127.0.0.1:1/v2/an-api-key"


@dataclass(frozen=True)
class Site:
    """A cluster, and what a node of the test network has to mint there."""

    folder: Path
    rpc: ClusterClient
    rpc_url: str
    ws_url: str
    signer: FileSigner
    mint: Pubkey

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def settings(self, **overrides: Any) -> Settings:
        """`section__name` for each setting; None takes one away."""
        values: dict[str, Any] = {
            "node.data_dir": self.data,
            "node.network": "test",
            "chain.headers_url": NOWHERE,
            "chain.arc_url": NOWHERE,
            "solana.rpc_url": self.rpc_url,
            "solana.ws_url": self.ws_url,
            "solana.key_file": self.folder / "minting.json",
            "solana.mint": str(self.mint),
            "solana.request_timeout_secs": 5,
        }
        return load_settings(None, values | {name.replace("__", "."): each for name, each in overrides.items()}, {})

    async def found(self, **overrides: Any) -> dict[str, Finding]:
        return {finding.subject: finding for finding in await check_solana(self.settings(**overrides))}

    async def store(self) -> SqliteStore:
        """The database of a node that ran; to be closed."""
        self.data.mkdir(exist_ok=True)
        store = SqliteStore(self.data / "node.db", cache_mib=4)
        await store.open(BRIDGE_COLLECTIONS)
        return store

    async def ran(self) -> None:
        """The node was connected before."""
        store, settings = await self.store(), self.settings()
        await Connecting(store, self.rpc, self.signer, (), settings.solana, 9, False).mode()
        await store.close()

    async def another_mint(self, **changes: Any) -> str:
        made = {"token_program": TOKEN_PROGRAM_ID, "decimals": 9, "seed": "another"} | changes
        return str(await create_mint(self.rpc, self.signer, **made))


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    cluster = Cluster(SqliteStore(tmp_path / "solana.db"), network="dev", slot_ms=10, now_ms=system_now_ms)
    await cluster.open()
    server = SolanaServer(cluster, "127.0.0.1", 0)
    await server.start()
    rpc = ClusterClient(server.rpc_url)
    signer = FileSigner(keypair_in(tmp_path / "minting.json", make=True))
    await fund(rpc, signer.public, 20 * SOL)
    mint = await create_mint(rpc, signer, token_program=TOKEN_PROGRAM_ID, decimals=9)
    yield Site(tmp_path, rpc, server.rpc_url, server.ws_url, signer, mint)
    await rpc.close()
    await server.stop()
    await cluster.close()


def verdicts(findings: dict[str, Finding]) -> set[Verdict]:
    return {finding.verdict for finding in findings.values()}


async def test_a_node_that_may_start_is_well(site: Site) -> None:
    findings = await site.found()
    assert verdicts(findings) == {Verdict.OK}, findings
    assert list(findings) == ["Solana", "mint", "minting key's SOL", "notices", "minting key", "minting"]
    assert "genesis" in findings["Solana"].seen
    assert findings["mint"].seen == f"{site.mint}, 9 decimals"
    assert findings["minting"].seen == "auto-mint every 60 s, 50 readings at a time"
    assert findings["minting key's SOL"].seen.endswith(" SOL")
    assert not site.data.exists(), "looking changes nothing"


async def test_a_node_that_ran_is_well(site: Site) -> None:
    await site.ran()
    assert verdicts(await site.found()) == {Verdict.OK}


async def test_the_doctor_looks_at_solana(site: Site) -> None:
    findings = await examine(lambda: site.settings(node__port=0), time.time)
    assert {"Solana", "mint", "minting key", "minting"} <= {finding.subject for finding in findings}


# The cluster


async def test_a_cluster_that_does_not_answer(site: Site) -> None:
    findings = await site.found(solana__rpc_url=NOWHERE)
    assert findings["Solana"].verdict is Verdict.BROKEN
    assert "solana.rpc_url" in findings["Solana"].cure
    assert "mint" not in findings


def test_no_key_of_a_url_is_shown(tmp_path: Path) -> None:
    witnesses = {"METAWATT_BRIDGE__WITNESS_RPC_URLS": f'["{NOWHERE}/2"]'}
    urls = witnesses | {"SOLANA_RPC_URL": NOWHERE, "SOLANA_WS_URL": NOWHERE.replace("http", "ws")}
    for command in ("doctor", "settings"):
        told = metawatt(command, "--data-dir", tmp_path, **urls)
        assert "an-api-key" not in told.stdout + told.stderr


@pytest.mark.parametrize(("network", "verdict"), [("test", Verdict.OK), ("main", Verdict.WARNING)])
async def test_a_cluster_of_another_worth(site: Site, network: str, verdict: Verdict) -> None:
    finding = (await site.found(node__network=network))["Solana"]
    assert finding.verdict is verdict
    assert ("not Solana's mainnet" in finding.seen) == (verdict is Verdict.WARNING)


async def test_a_cluster_that_the_database_does_not_belong_to(site: Site) -> None:
    store = await site.store()
    await store.commit([Insert(CONFIG, {"_id": "cluster", "genesis": "9" * 44, "mint": "", "guard": ""})])
    await store.close()
    finding = (await site.found())["mint"]
    assert finding.verdict is Verdict.BROKEN
    assert "another Solana cluster" in finding.seen


async def test_a_mint_that_the_database_does_not_belong_to(site: Site) -> None:
    await site.ran()
    finding = (await site.found(solana__mint=await site.another_mint()))["mint"]
    assert finding.verdict is Verdict.BROKEN
    assert "another Solana mint" in finding.seen


# The mint


async def test_a_mint_that_is_not_there(site: Site) -> None:
    finding = (await site.found(solana__mint=str(Keypair().pubkey())))["mint"]
    assert finding.verdict is Verdict.BROKEN
    assert "There is no mint" in finding.seen
    assert "solana.mint" in finding.cure


async def test_no_mint_is_named(site: Site) -> None:
    assert "Minting needs a mint" in (await site.found(solana__mint=None))["mint"].seen


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ({"tokenization__decimals": 6}, "has 9 decimals, not 6"),
        ({"solana__token_program": "token-2022"}, "belongs to SPL Token, not to Token-2022"),
        ({"solana__mint_mode": "generation"}, "belongs to SPL Token, not to Token-2022"),
    ],
)
async def test_a_mint_of_another_kind(site: Site, overrides: dict[str, Any], told: str) -> None:
    finding = (await site.found(**overrides))["mint"]
    assert finding.verdict is Verdict.BROKEN
    assert told in finding.seen


async def test_a_mint_of_anothers(site: Site) -> None:
    other = site.folder / "other.json"
    keypair_in(other, make=True)
    finding = (await site.found(solana__key_file=other))["mint"]
    assert finding.verdict is Verdict.BROKEN
    assert "has the authority" in finding.seen


async def test_on_the_dev_network_key_and_mint_are_made_at_first_start(site: Site) -> None:
    findings = await site.found(node__network="dev", solana__key_file=None, solana__mint=None)
    assert verdicts(findings) == {Verdict.OK}, findings
    assert "is made at first start" in findings["minting key"].seen
    keypair_in(site.data / KEY_FILE, make=True)
    findings = await site.found(node__network="dev", solana__key_file=None, solana__mint=None)
    assert (findings["mint"].verdict, findings["mint"].seen) == (Verdict.OK, "made at first start")
    found = await site.found(node__network="dev", solana__mint=None)
    assert found["mint"].seen == f"{site.mint}, 9 decimals"


# The minting key


@pytest.mark.parametrize("mode", [0o644, 0o640])
async def test_a_key_open_to_others(site: Site, mode: int) -> None:
    (site.folder / "minting.json").chmod(mode)
    findings = await site.found()
    assert findings["minting key"].verdict is Verdict.BROKEN
    assert "chmod 600" in findings["minting key"].seen
    assert findings["Solana"].verdict is Verdict.OK
    assert "mint" not in findings


@pytest.mark.parametrize("setting", ["solana__key_file", "solana__rec_validator_key_file"])
async def test_a_key_that_is_no_key(site: Site, setting: str) -> None:
    wrong = site.folder / "wrong.json"
    wrong.write_text("[1, 2]")
    wrong.chmod(0o600)
    finding = (await site.found(**{setting: wrong}))["minting key"]
    assert finding.verdict is Verdict.BROKEN
    assert "JSON array of 64 bytes" in finding.seen


async def test_a_key_that_is_not_there(site: Site) -> None:
    finding = (await site.found(solana__key_file=site.folder / "none.json"))["minting key"]
    assert finding.verdict is Verdict.BROKEN
    assert "solana-keygen" in finding.cure
    assert not (site.folder / "none.json").exists()


async def test_a_key_that_runs_out_of_sol(site: Site) -> None:
    finding = (await site.found(solana__payer_low_lamports=50 * SOL))["minting key's SOL"]
    assert finding.verdict is Verdict.WARNING
    assert "below solana.payer_low_lamports" in finding.seen
    assert str(site.signer.public) in finding.cure
    on_dev = await site.found(solana__payer_low_lamports=50 * SOL, node__network="dev")
    assert on_dev["minting key's SOL"].verdict is Verdict.OK


# Notices and polling


@pytest.mark.parametrize(
    ("ws_url", "verdict"),
    [(None, Verdict.OK), ("ws://127.0.0.1:1/", Verdict.WARNING), ("wss://127.0.0.1:1", Verdict.WARNING)],
)
async def test_notices(site: Site, ws_url: str | None, verdict: Verdict) -> None:
    assert (await site.found(solana__ws_url=ws_url))["notices"].verdict is verdict


async def test_a_server_that_says_nothing(site: Site) -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        url = f"ws://127.0.0.1:{mute.getsockname()[1]}"
        finding = (await site.found(solana__ws_url=url, solana__request_timeout_secs=0.5))["notices"]
    assert (finding.verdict, finding.seen) == (Verdict.WARNING, "no WebSocket (TimeoutError)")


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ({"tokenization__auto_mint_enabled": False}, "auto-mint is switched off"),
        ({"tokenization__polling_interval_secs": 300}, "every 300 s"),
        ({"tokenization__retry_enabled": False}, "what fails once waits for a person"),
    ],
)
async def test_polling_that_an_operator_should_know_of(site: Site, overrides: dict[str, Any], told: str) -> None:
    finding = (await site.found(**overrides))["minting"]
    assert finding.verdict is Verdict.WARNING
    assert told in finding.seen
    assert finding.cure


async def test_what_was_switched_counts_more_than_the_settings(site: Site) -> None:
    store = await site.store()
    await ConfigShelf(store, site.settings().tokenization).change(auto_mint_enabled=False)
    await store.close()
    assert "switched off" in (await site.found())["minting"].seen


async def test_a_gap_in_the_history(site: Site) -> None:
    store = await site.store()
    row = {"_id": str(site.mint), "slot": 1, "whole_slot": 1, "signature": None, "prior": None, "skipped": []}
    await store.commit([Insert(CURSORS, row | {"gap": "history begins at slot 20"})])
    await store.close()
    finding = (await site.found())["event processor"]
    assert (finding.verdict, finding.seen) == (Verdict.WARNING, "history begins at slot 20")
    assert "docs/OPERATIONS.md" in finding.cure


# Where there is little to look at


async def test_the_embedded_cluster_needs_nothing(tmp_path: Path) -> None:
    findings = await check_solana(load_settings(None, {"node.data_dir": tmp_path / "data"}, {}))
    assert {finding.verdict for finding in findings} == {Verdict.OK}
    assert [finding.subject for finding in findings] == ["Solana", "minting key", "minting"]
    assert not (tmp_path / "data").exists()


async def test_a_node_without_a_cluster(site: Site) -> None:
    assert list(await site.found(solana__rpc_url=None)) == ["meters"]
    assert list(await site.found(node__network="dev", meters__enabled=False)) == ["meters"]
    waiting = await site.found(solana__rpc_url=None, meters__enabled=True)
    assert waiting["Solana"].verdict is Verdict.WARNING


async def test_a_database_that_is_damaged(site: Site) -> None:
    site.data.mkdir()
    (site.data / "node.db").write_bytes(b"not a database, but long enough to be taken for one" * 100)
    finding = (await site.found())["minting"]
    assert finding.verdict is Verdict.WARNING
    assert "storage" in finding.cure
