"""Simulated readings become tokens on the embedded cluster, and the wallets hold them to the base unit."""

import asyncio
from fractions import Fraction

import pytest
from solders.keypair import Keypair
from spl.token.constants import TOKEN_2022_PROGRAM_ID, TOKEN_PROGRAM_ID

from bridge.minting.minting import Minting
from bridge.programs.keys import FileSigner
from bridge.programs.own import OwnMint
from bridge.programs.setup import create_mint, fund
from bridge.simulator.balances import Token, differences
from bridge.simulator.books import Books
from bridge.simulator.gateway import Gateway as Client
from bridge.simulator.opening import opening_of, token_of
from bridge.simulator.plan import Plan
from bridge.simulator.registering import register_all
from bridge.simulator.run import Run
from bridge.simulator.site import SiteKind
from bridge.solana.client import ClusterClient
from config.errors import NotFound
from config.settings import Settings
from overlay.clock import system_now_ms
from store.sqlite import SqliteStore
from tests.bridge.readings_kit import Gateway
from tests.bridge.simulator_kit import GatewayServer


@pytest.fixture
async def rpc(solana):
    client = ClusterClient(solana.rpc_url)
    yield client
    await client.close()


@pytest.fixture(params=[TOKEN_PROGRAM_ID, TOKEN_2022_PROGRAM_ID], ids=["spl-token", "token-2022"])
async def server(request, tmp_path, rpc):
    """A gateway whose minter polls all the time."""
    signer = FileSigner(Keypair())
    await fund(rpc, signer.public, 10 * 10**9)
    mint = await create_mint(rpc, signer, token_program=request.param, decimals=9)
    settings = Settings(tokenization={"polling_interval_secs": 0.1}, meters={"interval_secs": 1})
    gateway = Gateway(SqliteStore(tmp_path / "node.db"), settings)
    gateway.intake._now_ms = gateway.directory._now_ms = system_now_ms
    await gateway.open()
    mode = OwnMint(await rpc.genesis_hash(), mint, request.param, signer.public, 9)
    server = GatewayServer(gateway)
    server.mint = str(mint)
    server.minting = Minting(
        gateway.store, rpc, mode, signer, settings.tokenization, settings.solana, system_now_ms, has_faucet=True
    )
    await server.start()
    yield server
    await server.minting.stop()
    await server.stop()
    await gateway.store.close()


async def run_of(client, rpc, plan):
    fleet = plan.fleet(system_now_ms)
    await register_all(client, fleet, lambda done, of: None)
    run = Run(fleet, client, count=plan.count, wait_secs=30)
    token = await token_of(client, rpc)
    wallets = sorted({meter.wallet for meter in fleet})
    return run, Books(rpc, token, run.tally, await opening_of(client, rpc, token, wallets))


async def test_wallets_hold_what_was_accepted_also_of_runs_before(tmp_path, rpc, server):
    plan = Plan(keys=tmp_path / "keys", meters=8, kind=SiteKind.WIND, interval_secs=1, skew_secs=0.2, count=2)
    never = asyncio.Event()
    async with Client(server.url) as client:
        first, books = await run_of(client, rpc, plan)
        await first.go(never, never)  # the minter does not run yet
        assert first.tally.total.accepted > 4
        assert books.differences

        second, books = await run_of(client, rpc, plan)
        assert sum(books.opening.values()) == books.token.units(first.tally.total.accepted_mwh)
        await server.minting.start()
        await second.go(never, never, books.settle)

        assert books.differences == []
        accepted = first.tally.total.accepted_mwh + second.tally.total.accepted_mwh
        assert sum(books.actual.values()) == accepted * 1000
        assert second.tally.total.minted > 0


async def test_a_token_that_is_missing_is_told(tmp_path, rpc, server):
    async with Client(server.url) as client:
        token = await token_of(client, rpc)
        assert (str(token.mint), token.decimals, token.ratio) == (server.mint, 9, 1)
        with pytest.raises(NotFound):
            await token_of(client, rpc, str(Keypair().pubkey()))
        server.mint = None
        assert await token_of(client, rpc) is None
    assert token.units(1_500_000) == 1_500_000_000


def test_differences_are_told_wallet_by_wallet():
    (one,) = differences({"a": 5, "b": 7, "c": 0}, {"a": 5, "b": 8})
    assert (one.wallet, one.expected, one.actual) == ("b", 7, 8)


@pytest.mark.parametrize(
    ("decimals", "ratio", "units"), [(9, "1", 1_000), (6, "1", 1), (9, "2.5", 2_500), (6, "0.5", 0)]
)
def test_units_are_exact(decimals, ratio, units):
    key = Keypair().pubkey()
    assert Token(key, key, decimals, Fraction(ratio)).units(1) == units
