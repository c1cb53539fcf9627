"""What has to be asked of a cluster before anything is minted: which one it is, and whether the mint is ours.

A database belongs to one cluster, one mint and one way to guard readings for good: guards, cursors and what is on
its way mean nothing with another one. The first connection writes them down; later ones are held against them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from solders.hash import Hash
from solders.pubkey import Pubkey
from spl.token.constants import TOKEN_2022_PROGRAM_ID, TOKEN_PROGRAM_ID

from bridge.programs import pda
from bridge.programs.energy_token import Deployment, MintDirect, MintGeneration, MintToWallet
from bridge.programs.keys import Signer
from bridge.programs.mint import authority_of, checked_mint, multisig_signers
from bridge.programs.mode import MintMode, Order
from bridge.programs.own import OwnMint
from bridge.programs.setup import create_mint, fund
from bridge.records import CONFIG, reading_key
from bridge.solana.rpc import SolanaRpc
from config.errors import ErrorCode, MetawattError
from config.settings import SolanaSettings
from store.port import Document, Insert, Store

FAUCET_LAMPORTS: Final = 100 * 10**9
"""What a minting key of the dev network begins with: enough for some hundred thousand readings."""
MAINNET: Final = Hash.from_string("5eykt4UsFv8P8NJdTREpY1vzqKqZKvdpKuc147dw2N9d")
CLUSTER_KEPT: Final = "cluster"
"""The row of CONFIG with `genesis`, `mint` and `guard` (that of `_PROBE`), base58."""
_PROBE: Final = Order(reading_key("", pda.WINDOW_MS), "", pda.WINDOW_MS, Pubkey.default(), 1)
"""No meter's reading. Its guard follows from all that guards follow from, the minting key among it."""
_MEANT: Final = {
    "genesis": "cluster: set solana.rpc_url back",
    "mint": "mint: set solana.mint back",
    "guard": "minting key or mint_mode, under which the chain does not know what was minted before: set them back",
}
PROGRAMS: Final = {"spl-token": TOKEN_PROGRAM_ID, "token-2022": TOKEN_2022_PROGRAM_ID}


class AnotherCluster(MetawattError):
    """The database belongs to another cluster, another mint, or another minting key."""

    default_code = ErrorCode.SETTINGS_INVALID


@dataclass(frozen=True, slots=True)
class Way:
    """The way to mint that the settings tell. `co_signers` sign beside the minting key where that is not enough:
    the REC validator of energy_token, or further members of the multisig that has the node's own mint. `makes_mint`
    on the dev network: the faucet pays, and the mint is made where none is set."""

    rpc: SolanaRpc
    signer: Signer
    co_signers: Sequence[Signer]
    settings: SolanaSettings
    decimals: int
    makes_mint: bool

    async def mode(self, genesis: Hash) -> MintMode:
        """It, on a mint that was checked. Raises `Unavailable` while the cluster does not answer, `MintUnusable`
        when the mint is not the one that was meant."""
        return await self._own(genesis) if self.settings.mint_mode == "own" else await self._energy_token(genesis)

    async def _own(self, genesis: Hash) -> OwnMint:
        program, own = PROGRAMS[self.settings.token_program], self.signer.public
        if self.settings.mint is None:
            return OwnMint(genesis, await self._made(genesis, program), program, own, self.decimals)
        mint = Pubkey.from_string(self.settings.mint)
        authority, signers = await self._authority(mint, program)
        await self._check(mint, program, authority)
        return OwnMint(genesis, mint, program, authority, self.decimals, signers=signers, base=own)

    async def _authority(self, mint: Pubkey, program: Pubkey) -> tuple[Pubkey, tuple[Pubkey, ...]]:
        """Who ought to mint: the minting key; or the multisig that does, with those of its members who sign."""
        own = self.signer.public
        authority = await authority_of(self.rpc, mint, program)
        if authority is None or authority == own:
            return own, ()
        ours = [own, *(each.public for each in self.co_signers)]
        members = await multisig_signers(self.rpc, authority, ours, program)
        return (authority, members) if members else (own, ())

    async def _made(self, genesis: Hash, program: Pubkey) -> Pubkey:
        if not self.makes_mint:
            raise MetawattError("Minting needs a mint: set solana.mint", ErrorCode.SETTINGS_INVALID)
        if genesis == MAINNET:
            raise MetawattError(
                "The dev network makes no mint on mainnet-beta: set solana.mint", ErrorCode.SETTINGS_INVALID
            )
        await fund(self.rpc, self.signer.public, FAUCET_LAMPORTS)
        return await create_mint(self.rpc, self.signer, token_program=program, decimals=self.decimals)

    async def _energy_token(self, genesis: Hash) -> MintMode:
        settings = self.settings
        deployment = Deployment(
            program=Pubkey.from_string(settings.energy_token_program_id),
            authority=self.signer.public,
            rec_validator=self.co_signers[0].public if self.co_signers else None,
            mint=None if settings.mint is None else Pubkey.from_string(settings.mint),
        )
        await self._check(deployment.token, deployment.token_program, pda.token_info(deployment.program))
        if settings.mint_mode == "generation":
            return MintGeneration(deployment)
        if settings.mint_mode == "wallet":
            return MintToWallet(genesis, deployment)
        registry = pda.registry(Pubkey.from_string(settings.registry_program_id))
        return MintDirect(genesis, deployment, registry)

    async def _check(self, mint: Pubkey, program: Pubkey, authority: Pubkey) -> None:
        await checked_mint(self.rpc, mint, token_program=program, decimals=self.decimals, authority=authority)


@dataclass(frozen=True, slots=True)
class Connecting:
    """The first connection of a database, and every later one; the fields are those of `Way`."""

    store: Store
    rpc: SolanaRpc
    signer: Signer
    co_signers: Sequence[Signer]
    settings: SolanaSettings
    decimals: int
    makes_mint: bool

    async def mode(self) -> MintMode:
        """The way to mint, on a cluster and a mint that were checked. Raises `Unavailable` while the cluster does
        not answer, `MintUnusable` or `AnotherCluster` when it is not the one that was meant."""
        genesis = await self.rpc.genesis_hash()
        way = Way(self.rpc, self.signer, self.co_signers, self.settings, self.decimals, self.makes_mint)
        mode = await way.mode(genesis)
        row = cluster_row(genesis, mode)
        await self.store.commit([Insert(CONFIG, row, keep=True)])
        if told := another(await self.store.get(CONFIG, CLUSTER_KEPT) or {}, row):
            raise AnotherCluster(told)
        return mode


def cluster_row(genesis: Hash, mode: MintMode) -> Document:
    """What a database is held to, as it is kept in CONFIG."""
    own = {"genesis": genesis, "mint": mode.mint, "guard": mode.guard(_PROBE)}
    return {"_id": CLUSTER_KEPT, **{name: str(value) for name, value in own.items()}}


def another(kept: Document, row: Document) -> str | None:
    """What of `row` is another than the database was made with, and what to do; None when all is the same."""
    for name, meant in _MEANT.items():
        if kept.get(name) != row[name]:
            return f"The database belongs to another Solana {meant}, or start with a new database"
    return None
