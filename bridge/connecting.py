"""What has to be asked of a cluster before anything is minted: which one it is, and whether the mint is ours.

A database belongs to one cluster and one mint for good: markers, cursors and what is on its way mean nothing on
another one. The first connection writes both down; every later one is held against them.
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
from bridge.programs.mint import checked_mint
from bridge.programs.mode import MintMode
from bridge.programs.own import OwnMint
from bridge.programs.setup import create_mint, fund
from bridge.records import CONFIG
from bridge.solana.rpc import SolanaRpc
from config.errors import ErrorCode, MetawattError
from config.settings import SolanaSettings
from store.port import Insert, Store

FAUCET_LAMPORTS: Final = 100 * 10**9
"""What a minting key of the dev network begins with: enough for some hundred thousand readings."""
CLUSTER_KEPT: Final = "cluster"
"""The row of CONFIG with `genesis` and `mint`, base58."""
_PROGRAMS: Final = {"spl-token": TOKEN_PROGRAM_ID, "token-2022": TOKEN_2022_PROGRAM_ID}


class AnotherCluster(MetawattError):
    """The database belongs to another cluster, or another mint."""

    default_code = ErrorCode.SETTINGS_INVALID


@dataclass(frozen=True, slots=True)
class Connecting:
    """`makes_mint` on the dev network: the faucet pays, and the mint is made where none is set."""

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
        mode = await self._own(genesis) if self.settings.mint_mode == "own" else self._energy_token(genesis)
        await self._keep(genesis, mode.mint)
        return mode

    async def _own(self, genesis: Hash) -> OwnMint:
        program, authority = _PROGRAMS[self.settings.token_program], self.signer.public
        return OwnMint(genesis, await self._mint(program), program, authority, self.decimals)

    async def _mint(self, program: Pubkey) -> Pubkey:
        if self.settings.mint is not None:
            mint = Pubkey.from_string(self.settings.mint)
            authority = self.signer.public
            await checked_mint(self.rpc, mint, token_program=program, decimals=self.decimals, authority=authority)
            return mint
        if not self.makes_mint:
            raise MetawattError("Minting needs a mint: set solana.mint", ErrorCode.SETTINGS_INVALID)
        await fund(self.rpc, self.signer.public, FAUCET_LAMPORTS)
        return await create_mint(self.rpc, self.signer, token_program=program, decimals=self.decimals)

    def _energy_token(self, genesis: Hash) -> MintMode:
        settings = self.settings
        deployment = Deployment(
            program=Pubkey.from_string(settings.energy_token_program_id),
            authority=self.signer.public,
            rec_validator=self.co_signers[0].public if self.co_signers else None,
            mint=None if settings.mint is None else Pubkey.from_string(settings.mint),
        )
        if settings.mint_mode == "generation":
            return MintGeneration(deployment)
        if settings.mint_mode == "wallet":
            return MintToWallet(genesis, deployment)
        registry = pda.registry(Pubkey.from_string(settings.registry_program_id))
        return MintDirect(genesis, deployment, registry)

    async def _keep(self, genesis: Hash, mint: Pubkey) -> None:
        own = {"genesis": str(genesis), "mint": str(mint)}
        await self.store.commit([Insert(CONFIG, {"_id": CLUSTER_KEPT, **own}, keep=True)])
        kept = await self.store.get(CONFIG, CLUSTER_KEPT)
        for name, now in own.items():
            if kept is not None and kept[name] != now:
                raise AnotherCluster(
                    f"The database belongs to the Solana {name} {kept[name]}, and this is {now}: set "
                    "solana.rpc_url and solana.mint back, or start with a new database"
                )
