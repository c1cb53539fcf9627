"""Custody on Solana: the bridge's key, its token account, and whether the mint can be mirrored at all."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from solders.hash import Hash
from solders.pubkey import Pubkey
from solders.token.state import Mint

from bridge.mirror.ground import Asset
from bridge.mirror.message import UNITS_PER_WH
from bridge.mirror.to_solana.vault import CustodyUnusable, vault_of
from bridge.programs.destination import fault_of, is_missing
from bridge.programs.keys import FileSigner, Signer
from bridge.programs.mint import MINT_BYTES, demand_transfers
from bridge.programs.mode import MintMode
from bridge.programs.packing import Packed
from bridge.programs.setup import fund
from bridge.programs.signing import signed
from bridge.programs.tokens import associated_account, create_associated_account
from bridge.records import CONFIG
from bridge.solana.rpc import AccountState, SolanaRpc
from config.errors import ErrorCode, Unavailable
from config.mirroring import MIRRORED_DECIMALS, against_mirroring
from config.settings import Settings
from store.port import Insert, Store

KEY_FILE: Final = "bridge.json"
KEPT: Final = "custody"
"""The row of CONFIG with `owner`, `custody` and `base`, base58, and `mode`: markers mean nothing with another base,
nor do releases on their way in another mode."""
_FAUCET_LAMPORTS: Final = 100 * 10**9
_LOOKS: Final = 60
_PAUSE_SECS: Final = 0.25


def bridge_key_path(settings: Settings) -> Path:
    """Where the bridge's Solana key is kept."""
    return settings.bridge.key_file or settings.node.data_dir / KEY_FILE


def bridge_signers(settings: Settings) -> tuple[Signer, ...]:
    """The bridge's key, made at the first start on the dev network, and those of other members of multisigs."""
    is_made = settings.node.network == "dev" and settings.bridge.key_file is None
    own = FileSigner.load(bridge_key_path(settings), make=is_made)
    return (own, *(FileSigner.load(path) for path in settings.bridge.member_key_files))


def custody_owner(settings: Settings, signers: Sequence[Signer]) -> Pubkey:
    """The wallet that has custody."""
    set_owner = settings.bridge.custody_owner
    return signers[0].public if set_owner is None else Pubkey.from_string(set_owner)


async def open_custody(
    store: Store,
    rpc: SolanaRpc,
    genesis: Hash,
    mode: MintMode,
    signers: Sequence[Signer],
    settings: Settings,
    *,
    has_faucet: bool,
) -> Asset:
    """The asset, with a custody account that is there and is the bridge's. Raises `CustodyUnusable`, `MintUnusable`
    when the mint's transfers do not arrive whole or too few members of a multisig are here, or `Unavailable` while
    the cluster does not answer."""
    if reason := against_mirroring(settings):
        raise CustodyUnusable(reason)
    await demand_transfers(rpc, mode.mint, mode.token_program)
    owner = custody_owner(settings, signers)
    asset = Asset(
        genesis=genesis,
        mint=mode.mint,
        token_program=mode.token_program,
        decimals=MIRRORED_DECIMALS,
        owner=owner,
        custody=associated_account(owner, mode.mint, mode.token_program),
        mode=settings.bridge.mode,
        mint_authority=await _authority(rpc, mode),
    )
    await vault_of(asset, rpc, signers)
    await _pin(store, asset, signers[0].public)
    _check_watched(asset, settings)
    if has_faucet:
        await fund(rpc, signers[0].public, _FAUCET_LAMPORTS)
    await _demand_account(rpc, asset, signers[0])
    return asset


async def _authority(rpc: SolanaRpc, mode: MintMode) -> Pubkey:
    """Who may mint; the default key where nobody can any more."""
    (account,) = await rpc.accounts([mode.mint], "confirmed")
    if account is None:
        raise CustodyUnusable(f"There is no mint {mode.mint}")
    mint = Mint.from_bytes(account.data[:MINT_BYTES])
    if mint.decimals != MIRRORED_DECIMALS:
        raise CustodyUnusable(f"The mint {mode.mint} has {mint.decimals} decimals: {UNITS_PER_WH} units are no Wh")
    return mint.mint_authority or Pubkey.default()


async def _pin(store: Store, asset: Asset, base: Pubkey) -> None:
    """A database has one custody for good: another one would not know what crossed before."""
    held = {"owner": str(asset.owner), "custody": str(asset.custody), "base": str(base), "mode": asset.mode}
    row = {"_id": KEPT, **held}
    await store.commit([Insert(CONFIG, row, keep=True)])
    kept = await store.get(CONFIG, KEPT) or {}
    if any(kept.get(name) != value for name, value in row.items()):
        raise CustodyUnusable(
            f"The database has its custody at {kept.get('custody')}, under the key {kept.get('base')}, in mode "
            f"{kept.get('mode')}: set bridge.key_file, bridge.custody_owner and bridge.mode back"
        )


def _check_watched(asset: Asset, settings: Settings) -> None:
    watched = settings.solana.custody_account
    if watched is not None and watched != str(asset.custody):
        raise CustodyUnusable(f"solana.custody_account is {watched}, and the bridge's custody is {asset.custody}")


async def _demand_account(rpc: SolanaRpc, asset: Asset, payer: Signer) -> None:
    """The custody account, made where it is missing."""
    (account,) = await rpc.accounts([asset.custody], "confirmed")
    if is_missing(account):
        creation = create_associated_account(payer.public, asset.owner, asset.mint, asset.token_program)
        blockhash = await rpc.latest_blockhash()
        made = await signed(Packed((), (creation,), payer.public), blockhash.value, [payer])
        await rpc.send(bytes(made))
        account = await _awaited(rpc, asset.custody)
    assert account is not None
    fault = fault_of(account, wallet=asset.owner, mint=asset.mint, token_program=asset.token_program)
    if fault is not None:
        raise CustodyUnusable(f"The custody account {asset.custody} cannot be used: {fault}")


async def _awaited(rpc: SolanaRpc, address: Pubkey) -> AccountState:
    """An account that was just sent for. Raises `Unavailable` when it does not come."""
    for _ in range(_LOOKS):
        (account,) = await rpc.accounts([address], "confirmed")
        if account is not None and not is_missing(account):
            return account
        await asyncio.sleep(_PAUSE_SECS)
    raise Unavailable(f"The custody account {address} was not made yet", ErrorCode.SOLANA_UNAVAILABLE)
