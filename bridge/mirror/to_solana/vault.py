"""Where the asset's tokens are paid from, and whose signatures that takes."""

from __future__ import annotations

from collections.abc import Sequence

from bridge.mirror.ground import Asset
from bridge.programs.keys import Signer
from bridge.programs.mint import multisig_signers
from bridge.programs.release import Vault
from bridge.solana.rpc import SolanaRpc
from config.errors import ErrorCode, MetawattError


class CustodyUnusable(MetawattError):
    """The mint, the key or the custody account is not what mirroring needs; the message says what is."""

    default_code = ErrorCode.SETTINGS_INVALID


async def vault_of(asset: Asset, rpc: SolanaRpc, signers: Sequence[Signer]) -> Vault:
    """Custody, or the mint, with who signs for it. Raises `MintUnusable` when it is a multisig of
    which too few signers are here, `CustodyUnusable` when it is a key that is not here."""
    is_held = asset.mode == "lock"
    authority = asset.owner if is_held else asset.mint_authority
    ours = [each.public for each in signers]
    members = await multisig_signers(rpc, authority, ours, asset.token_program)
    if not members and authority not in ours:
        held = "custody" if is_held else "the mint"
        raise CustodyUnusable(f"There is no key of {authority}, who has {held}")
    custody = asset.custody if is_held else None
    return Vault(asset.mint, asset.token_program, asset.decimals, authority, custody, members)
