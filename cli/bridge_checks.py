"""The doctor's checks of the bridge: its settings, its key and the key's SOL, custody, and witnesses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from solders.hash import Hash
from solders.pubkey import Pubkey
from solders.token.state import Mint

from api.metering import bridge_keys, embeds_solana
from bridge.connecting import CLUSTER_KEPT, PROGRAMS
from bridge.mirror.custody import KEPT, bridge_key_path, custody_owner
from bridge.mirror.ground import Asset
from bridge.mirror.to_solana.vault import vault_of
from bridge.programs.destination import fault_of, is_missing
from bridge.programs.keys import Signer
from bridge.programs.mint import MINT_BYTES
from bridge.programs.tokens import associated_account
from bridge.records import CONFIG
from bridge.solana.client import ClusterClient
from bridge.solana.rpc import SolanaRpc
from cli.finding import Finding, broken, ok, warning
from config.errors import MetawattError
from config.mirroring import MIRRORED_DECIMALS, against_mirroring
from config.settings import BridgeSettings, Settings
from store.open import open_store
from store.port import Document
from store.sqlite import SqliteStore

_LAMPORTS_A_SOL: Final = 10**9
_GUIDE: Final = "docs/BRIDGE.md"


async def check_bridge(settings: Settings) -> list[Finding]:
    """What the bridge needs; one line where there is none."""
    if not settings.mirrors:
        return [ok("bridge", "this node is none: bridge.enabled is not set")]
    if reason := against_mirroring(settings):
        return [warning("bridge", f"nothing crosses: {reason}", "Set that, or bridge.enabled to false.")]
    key, signers = _check_key(settings)
    found = [_check_bounds(settings), key]
    try:
        kept = await _kept(settings)
    except MetawattError:
        return found  # the doctor tells of the storage by itself
    if signers:
        found += _check_pinned(settings, signers, kept.custody)
    if settings.solana.rpc_url is None or embeds_solana(settings):
        return found
    rpc = ClusterClient(settings.solana.rpc_url, settings.solana.request_timeout_secs)
    try:
        return [*found, *await _asked(settings, rpc, signers, kept.cluster)]
    finally:
        await rpc.close()


def _check_bounds(settings: Settings) -> Finding:
    bridge = settings.bridge
    seen = f"mode {bridge.mode}, {bridge.confirmations} confirmations, {_limits(bridge)}"
    if settings.node.network == "main" and not (bridge.limit_in_wh and bridge.limit_out_wh):
        cure = f"Set bridge.limit_in_wh and bridge.limit_out_wh: they bound what a fault may cost; see {_GUIDE}."
        return warning("bridge", seen, cure)
    return ok("bridge", seen)


def _limits(bridge: BridgeSettings) -> str:
    """What may cross in a window."""
    bounds = [f"{wh:,} Wh {way}" for wh, way in ((bridge.limit_in_wh, "in"), (bridge.limit_out_wh, "out")) if wh]
    return f"at most {' and '.join(bounds)} in {bridge.limit_window_hours:g} hours" if bounds else "no limit"


# The machine and the database


def _check_key(settings: Settings) -> tuple[Finding, Sequence[Signer]]:
    """The bridge's key, and all who sign here."""
    subject, path = "bridge's key", bridge_key_path(settings)
    if not path.exists():
        if settings.node.network == "dev" and settings.bridge.key_file is None:
            return ok(subject, f"{path} is made at first start"), ()
        cure = "Restore it, as custody belongs to it; a first one: solana-keygen new --outfile FILE, mode 0600."
        return broken(subject, f"{path} is not there", cure), ()
    try:
        signers = bridge_keys(settings)
    except MetawattError as error:
        return broken(subject, error.message, "A key is a file of solana-keygen's, with mode 0600."), ()
    members = len(settings.bridge.member_key_files)
    others = f", and {members} more of multisigs" if members else ""
    return ok(subject, f"{signers[0].public}, in {path}{others}"), signers


@dataclass(frozen=True, slots=True)
class _Kept:
    """What the database is held to; None before the first connection."""

    cluster: Document | None = None
    custody: Document | None = None


async def _kept(settings: Settings) -> _Kept:
    store = open_store(settings.storage.uri, settings.node.data_dir, settings.storage)
    if isinstance(store, SqliteStore) and not store.path.exists():
        return _Kept()
    try:
        await store.open([CONFIG])
        return _Kept(await store.get(CONFIG, CLUSTER_KEPT), await store.get(CONFIG, KEPT))
    finally:
        await store.close()


def _check_pinned(settings: Settings, signers: Sequence[Signer], row: Document | None) -> list[Finding]:
    """One line when the database has another custody."""
    here = {
        "owner": str(custody_owner(settings, signers)),
        "base": str(signers[0].public),
        "mode": settings.bridge.mode,
    }
    differing = [] if row is None else [f"{name} {row.get(name)}" for name in here if row.get(name) != here[name]]
    if not differing:
        return []
    cure = "Set bridge.key_file, bridge.custody_owner and bridge.mode back; another bridge needs another database."
    return [broken("custody", f"the database was made with {', '.join(differing)}", cure)]


# The cluster


async def _asked(
    settings: Settings, rpc: SolanaRpc, signers: Sequence[Signer], cluster: Document | None
) -> list[Finding]:
    """What the cluster says of custody and of the key, and what each witness says of itself."""
    try:
        genesis = await rpc.genesis_hash()
        found = []
        if signers:
            found = [await _check_custody(settings, rpc, signers, genesis, cluster)]
            found += [await _check_funds(settings, rpc, signers[0].public)]
    except MetawattError:
        return []  # the doctor tells of the cluster by itself
    return [*found, *await _check_witnesses(settings, genesis)]


async def _check_custody(
    settings: Settings, rpc: SolanaRpc, signers: Sequence[Signer], genesis: Hash, cluster: Document | None
) -> Finding:
    named = settings.solana.mint if cluster is None else cluster["mint"]
    if named is None:
        return ok("custody", "looked at once there is a mint")
    asset = await _asset(settings, rpc, genesis, Pubkey.from_string(named), custody_owner(settings, signers))
    if asset is None:
        return broken("custody", f"{named} is no mint of 9 decimals", "Set solana.mint as the mint is.")
    try:
        vault = await vault_of(asset, rpc, signers)
    except MetawattError as error:
        cure = "Set bridge.key_file to the key that has it, or bridge.member_key_files to enough of a multisig's."
        return broken("custody", error.message, cure)
    (account,) = await rpc.accounts([asset.custody], "confirmed")
    signed_by = f"{len(vault.signers)} members of {asset.owner}" if vault.signers else f"{asset.owner}"
    if account is None or is_missing(account):
        return ok("custody", f"{asset.custody} is made at first start, for {signed_by}")
    fault = fault_of(account, wallet=asset.owner, mint=asset.mint, token_program=asset.token_program)
    if fault is not None:
        cure = "Nothing can cross. Whoever did that must undo it: thaw the account, or give it back."
        return broken("custody", f"{asset.custody}: {fault}", cure)
    return ok("custody", f"{asset.custody}, of {signed_by}")


async def _asset(settings: Settings, rpc: SolanaRpc, genesis: Hash, mint: Pubkey, owner: Pubkey) -> Asset | None:
    """What would be mirrored; None where that is no mint of nine decimals."""
    (account,) = await rpc.accounts([mint], "confirmed")
    if account is None or len(account.data) < MINT_BYTES or account.owner not in PROGRAMS.values():
        return None
    told = Mint.from_bytes(account.data[:MINT_BYTES])
    if told.decimals != MIRRORED_DECIMALS:
        return None
    return Asset(
        genesis=genesis,
        mint=mint,
        token_program=account.owner,
        decimals=told.decimals,
        owner=owner,
        custody=associated_account(owner, mint, account.owner),
        mode=settings.bridge.mode,
        mint_authority=told.mint_authority or Pubkey.default(),
    )


async def _check_funds(settings: Settings, rpc: SolanaRpc, payer: Pubkey) -> Finding:
    subject, lamports = "bridge key's SOL", await rpc.balance(payer)
    seen = f"{(Decimal(lamports) / _LAMPORTS_A_SOL).normalize():f} SOL"
    if settings.node.network == "dev":
        return ok(subject, f"{seen}; the faucet pays")
    if lamports < settings.solana.payer_low_lamports:
        return warning(subject, f"{seen}, below solana.payer_low_lamports", f"Send SOL to {payer}.")
    return ok(subject, seen)


async def _check_witnesses(settings: Settings, genesis: Hash) -> list[Finding]:
    urls = settings.bridge.witness_rpc_urls
    if not urls and settings.node.network == "main":
        cure = f"Set bridge.witness_rpc_urls to an endpoint of another provider; see {_GUIDE}."
        return [warning("witnesses", "none: what solana.rpc_url tells of deposits is believed", cure)]
    return [await _check_witness(settings, number, url, genesis) for number, url in enumerate(urls, 1)]


async def _check_witness(settings: Settings, number: int, url: str, genesis: Hash) -> Finding:
    """Addresses may have keys in them: witnesses are told by number."""
    subject = f"witness {number}"
    rpc = ClusterClient(url, settings.solana.request_timeout_secs)
    try:
        own, slot = await rpc.genesis_hash(), await rpc.slot()
    except MetawattError as error:
        cure = "Deposits wait until it answers. Look at that endpoint, or take it out of bridge.witness_rpc_urls."
        return broken(subject, error.message, cure)
    finally:
        await rpc.close()
    if own != genesis:
        cure = "Every deposit would be held. Name an endpoint of the same cluster in bridge.witness_rpc_urls."
        return broken(subject, f"is of another cluster: genesis {own}", cure)
    return ok(subject, f"final slot {slot}")
