"""Releases: tokens that leave the bridge's custody, or are minted again, for what crossed from BSV; and refunds of
what came from Solana. Guarded by markers, as mints of readings are.

The memo says for what, for people and auditors: `gwx1:release:<txid hex>.<vout>,…` names the certificates'
outpoints, `gwx1:refund:<base58 of the message's id>,…` the messages. It is a note, not a proof. What binds a
payment to its message is its marker, whose seed is made of the crossing's id.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from solders.hash import Hash
from solders.instruction import Instruction
from solders.pubkey import Pubkey
from spl.memo.constants import MEMO_PROGRAM_ID

from bridge.programs.attribution import Expected, paid_after_markers
from bridge.programs.instructions import Kind
from bridge.programs.marker import MARKER_RENT_LAMPORTS, Markers
from bridge.programs.mode import Facts
from bridge.programs.tokens import create_associated_account, mint_to_checked, transfer_checked
from bridge.solana.rpc import SeenTransaction

_RELEASE: Final = "gwx1:release:"
_REFUND: Final = "gwx1:refund:"


@dataclass(frozen=True, slots=True)
class Crossing:
    """What is to be paid: `units` base units to the token account `destination`. `key` is the crossing's id, 32 B.
    `wallet` owns the destination, which is its associated account and is made where it is missing; None pays into
    an account that must be there, whoever owns it. `outpoint` is the certificate's, 36 B as on the wire, of a
    release; of a refund it is None, and `message` is the id of the message that is given back."""

    key: bytes
    message: bytes
    destination: Pubkey
    wallet: Pubkey | None
    units: int
    outpoint: bytes | None

    def __str__(self) -> str:
        return f"the release for message {self.message.hex()}"


class CrossingMarkers(Markers[Crossing]):
    """The markers of one mint's crossings."""

    def __init__(
        self, genesis: Hash, mint: Pubkey, base: Pubkey, rent_lamports: int = MARKER_RENT_LAMPORTS
    ) -> None:
        super().__init__(b"gwx1 crossing", genesis, mint, base, rent_lamports)

    def name(self, item: Crossing) -> bytes:
        return item.key


def crossing_marker(genesis: Hash, mint: Pubkey, base: Pubkey, crossing_id: bytes) -> tuple[str, Pubkey]:
    """The seed and the address of a crossing's marker."""
    found = CrossingMarkers(genesis, mint, base)
    crossing = Crossing(crossing_id, crossing_id, base, None, 0, None)
    return found.seed(crossing), found.address(crossing)


@dataclass(frozen=True, slots=True)
class Vault:
    """Where tokens are paid from: out of the token account `custody`, or where it is None minted. `authority` is
    custody's owner, or the mint's authority; `signers` are those of its members who sign when it is a multisig."""

    mint: Pubkey
    token_program: Pubkey
    decimals: int
    authority: Pubkey
    custody: Pubkey | None
    signers: tuple[Pubkey, ...] = ()


class Release:
    """A `PayMode` of crossings. `base` is what markers are derived from, and pays."""

    def __init__(
        self, genesis: Hash, vault: Vault, base: Pubkey, *, marker_rent_lamports: int = MARKER_RENT_LAMPORTS
    ) -> None:
        self._vault = vault
        self._base = base
        self._markers = CrossingMarkers(genesis, vault.mint, base, marker_rent_lamports)

    @property
    def mint(self) -> Pubkey:
        return self._vault.mint

    @property
    def token_program(self) -> Pubkey:
        return self._vault.token_program

    def guard(self, item: Crossing) -> Pubkey:
        return self._markers.address(item)

    def destination(self, item: Crossing) -> Pubkey:
        return item.destination

    def instructions(self, item: Crossing, facts: Facts) -> list[Instruction]:
        found = self._markers.instructions(item, self._base, facts.guard_lamports)
        if item.wallet is not None and not facts.has_destination:
            found.append(create_associated_account(self._base, item.wallet, self.mint, self.token_program))
        return [*found, self._payment(item)]

    def memo(self, items: Sequence[Crossing]) -> Instruction:
        """It names no signer: those of the transaction are known."""
        return Instruction(MEMO_PROGRAM_ID, memo_text(items).encode("ascii"), [])

    def minted(self, items: Sequence[Crossing], seen: SeenTransaction) -> dict[bytes, int]:
        """What each was paid, whether minted or out of custody."""
        source = self._vault.custody
        expected = {self.guard(each): Expected(each.key, each.destination, source) for each in items}
        return paid_after_markers(seen, self.mint, expected, Kind.MINT if source is None else Kind.TRANSFER)

    def _payment(self, item: Crossing) -> Instruction:
        vault = self._vault
        if vault.custody is None:
            return mint_to_checked(
                vault.token_program,
                vault.mint,
                item.destination,
                vault.authority,
                item.units,
                vault.decimals,
                vault.signers,
            )
        return transfer_checked(
            vault.token_program,
            vault.custody,
            vault.mint,
            item.destination,
            vault.authority,
            item.units,
            vault.decimals,
            vault.signers,
        )


def memo_text(items: Sequence[Crossing]) -> str:
    """The memo of a transaction, whose crossings are all releases or all refunds."""
    outpoints = [item.outpoint for item in items if item.outpoint is not None]
    if not outpoints:
        return _REFUND + ",".join(str(Pubkey(item.message)) for item in items)
    if len(outpoints) != len(items):
        raise ValueError("a transaction of releases and refunds")
    return _RELEASE + ",".join(map(_outpoint_text, outpoints))


def _outpoint_text(outpoint: bytes) -> str:
    return f"{outpoint[:32][::-1].hex()}.{int.from_bytes(outpoint[32:], 'little')}"
