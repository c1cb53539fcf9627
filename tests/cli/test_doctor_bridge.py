"""The doctor on the bridge: its settings, its key and the key's SOL, custody, and witnesses."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import pytest
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from bridge.mirror.custody import KEPT
from bridge.programs.keys import keypair_in
from bridge.programs.setup import fund
from bridge.records import CONFIG
from cli.bridge_checks import check_bridge
from cli.doctor import examine
from cli.finding import Finding, Verdict
from store.port import Insert
from tests.cli.test_doctor_solana import NOWHERE, SOL, Site, site, verdicts

__all__ = ["site"]  # a fixture


@dataclass(frozen=True)
class Bridge:
    """A bridge's key, on the site of a minter."""

    site: Site
    key: Pubkey

    async def found(self, **overrides: Any) -> dict[str, Finding]:
        path = self.site.folder / "bridge.json"
        values = {"bridge__enabled": True, "bridge__key_file": path} | overrides
        return {finding.subject: finding for finding in await check_bridge(self.site.settings(**values))}


@pytest.fixture
async def bridge(site: Site) -> Bridge:
    key = keypair_in(site.folder / "bridge.json", make=True).pubkey()
    await fund(site.rpc, key, 20 * SOL)
    return Bridge(site, key)


async def test_a_bridge_that_may_start_is_well(bridge: Bridge) -> None:
    found = await bridge.found()
    assert verdicts(found) == {Verdict.OK}, found
    assert list(found) == ["bridge", "bridge's key", "custody", "bridge key's SOL"]
    assert found["bridge"].seen == "mode lock, 6 confirmations, no limit"
    assert found["bridge's key"].seen.startswith(str(bridge.key))
    assert "is made at first start" in found["custody"].seen
    assert found["bridge key's SOL"].seen == "20 SOL"
    assert not bridge.site.data.exists(), "looking changes nothing"
    findings = await examine(lambda: bridge.site.settings(node__port=0), time.time)
    assert "bridge" in {finding.subject for finding in findings}


async def test_a_node_that_is_no_bridge(bridge: Bridge) -> None:
    assert list(await bridge.found(bridge__enabled=None)) == ["bridge"]
    on_dev = await bridge.found(bridge__enabled=None, node__network="dev", tokenization__decimals=6)
    assert (on_dev["bridge"].verdict, on_dev["bridge"].cure) == (
        Verdict.WARNING,
        "Set that, or bridge.enabled to false.",
    )


async def test_on_the_dev_network_the_key_is_made_at_first_start(bridge: Bridge) -> None:
    dev = {"bridge__enabled": None, "bridge__key_file": None, "node__network": "dev"}
    assert "is made at first start" in (await bridge.found(**dev, solana__rpc_url=None))["bridge's key"].seen


async def test_a_key_that_is_not_there_or_open_to_others(bridge: Bridge) -> None:
    found = await bridge.found(bridge__key_file=bridge.site.folder / "none.json")
    assert found["bridge's key"].verdict is Verdict.BROKEN
    assert "solana-keygen" in found["bridge's key"].cure
    assert "custody" not in found
    (bridge.site.folder / "bridge.json").chmod(0o644)
    assert "chmod 600" in (await bridge.found())["bridge's key"].seen


async def test_burning_needs_the_minting_key(bridge: Bridge) -> None:
    assert verdicts(await bridge.found(bridge__mode="burn")) == {Verdict.OK}
    other = bridge.site.folder / "other.json"
    keypair_in(other, make=True)
    finding = (await bridge.found(bridge__mode="burn", solana__key_file=other))["custody"]
    assert finding.verdict is Verdict.BROKEN
    assert "who has the mint" in finding.seen


async def test_custody_of_somebody_whose_key_is_not_here(bridge: Bridge) -> None:
    finding = (await bridge.found(bridge__custody_owner=str(Keypair().pubkey())))["custody"]
    assert finding.verdict is Verdict.BROKEN
    assert "who has custody" in finding.seen
    assert "bridge.member_key_files" in finding.cure


async def test_a_database_of_another_custody(bridge: Bridge) -> None:
    store = await bridge.site.store()
    row = {"_id": KEPT, "owner": str(bridge.key), "custody": "x", "base": str(bridge.key), "mode": "burn"}
    await store.commit([Insert(CONFIG, row)])
    await store.close()
    assert "custody" in await bridge.found(bridge__mode="burn")
    findings = await check_bridge(
        bridge.site.settings(bridge__enabled=True, bridge__key_file=bridge.site.folder / "bridge.json")
    )
    broken = [finding for finding in findings if finding.verdict is Verdict.BROKEN]
    assert [finding.seen for finding in broken] == ["the database was made with mode burn"]


async def test_a_key_that_runs_out_of_sol(bridge: Bridge) -> None:
    finding = (await bridge.found(solana__payer_low_lamports=50 * SOL))["bridge key's SOL"]
    assert finding.verdict is Verdict.WARNING
    assert str(bridge.key) in finding.cure


async def test_witnesses_are_asked(bridge: Bridge) -> None:
    found = await bridge.found(bridge__witness_rpc_urls=[bridge.site.rpc_url + "/", NOWHERE])
    assert found["witness 1"].verdict is Verdict.OK
    assert found["witness 2"].verdict is Verdict.BROKEN
    assert "an-api-key" not in found["witness 2"].seen
    assert "Deposits wait" in found["witness 2"].cure


async def test_on_the_main_network_bounds_and_witnesses_are_asked_for(bridge: Bridge) -> None:
    found = await bridge.found(node__network="main")
    assert (found["bridge"].verdict, found["witnesses"].verdict) == (Verdict.WARNING, Verdict.WARNING)
    bounded = await bridge.found(node__network="main", bridge__limit_in_wh=1000, bridge__limit_out_wh=5000)
    assert bounded["bridge"].seen == (
        "mode lock, 6 confirmations, at most 1,000 Wh in and 5,000 Wh out in 24 hours"
    )
    assert bounded["bridge"].verdict is Verdict.OK


async def test_a_mint_that_cannot_be_mirrored(bridge: Bridge) -> None:
    six = await bridge.site.another_mint(decimals=6)
    assert "is no mint of 9 decimals" in (await bridge.found(solana__mint=six))["custody"].seen
