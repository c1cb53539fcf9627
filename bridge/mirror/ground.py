"""What the parts of one mirror have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from solders.hash import Hash
from solders.pubkey import Pubkey

from bridge.mirror.book import Book
from bridge.programs.keys import Signer
from bridge.solana.rpc import SolanaRpc
from config.settings import BridgeSettings, Settings
from energytag.registry import Registry
from overlay.clock import NowMs
from overlay.engine import Engine
from store.port import Store

CHAIN: Final = "solana"
"""`exit.chain` of certificates that are to go to the bridge's cluster, whichever that is; or `solana:<genesis>`."""


@dataclass(frozen=True, slots=True)
class Asset:
    """The token that is mirrored, and how. `custody` is the token account of `owner`, the bridge's wallet, a key or
    a multisig. In `lock` tokens lie in custody while their certificates live; in `burn` they are burned, and minted
    again by `mint_authority`."""

    genesis: Hash
    mint: Pubkey
    token_program: Pubkey
    decimals: int
    owner: Pubkey
    custody: Pubkey
    mode: Literal["lock", "burn"]
    mint_authority: Pubkey

    @property
    def name(self) -> str:
        """As messages and the ledger name it: the mint, base58."""
        return str(self.mint)


@dataclass(frozen=True, slots=True)
class MirrorGround:
    """One store and book, both chains, and who signs. `signers[0]` pays on Solana, and is the base of markers; all
    of them sign what asks for them. `witnesses` are further endpoints that must tell the same as `rpc`.
    `bsv_genesis` is the hash of block 0, 32 B as on the wire. The bridge's identity on BSV is that of the
    registry's keyring."""

    store: Store
    book: Book
    settings: Settings
    now_ms: NowMs
    engine: Engine
    registry: Registry
    rpc: SolanaRpc
    witnesses: Sequence[SolanaRpc]
    asset: Asset
    signers: Sequence[Signer]
    bsv_genesis: bytes
    has_faucet: bool = False

    @property
    def bridge(self) -> BridgeSettings:
        return self.settings.bridge

    @property
    def identity(self) -> bytes:
        """The bridge's identity key on BSV, 33 B."""
        return self.registry.ground.keyring.identity
