"""Minting by the node's own authority: a mint of SPL Token or Token-2022, guarded by markers."""

from __future__ import annotations

from collections.abc import Sequence

from solders.hash import Hash
from solders.instruction import Instruction
from solders.pubkey import Pubkey

from bridge.programs.attribution import Expected, minted_after_markers
from bridge.programs.marker import MARKER_RENT_LAMPORTS, Marker
from bridge.programs.memo import reading_memo
from bridge.programs.mode import Facts, Order
from bridge.programs.tokens import associated_account, create_associated_account, mint_to_checked
from bridge.solana.rpc import SeenTransaction
from config.errors import ErrorCode, MetawattError


class OwnMint:
    """A `MintMode`. `authority` mints, pays, and is the base of the markers.

    Where the mint's authority is a multisig, `signers` are those of its members who sign, and `base` is the
    key that markers are derived from: a multisig's account cannot sign by itself. `payer` is who pays for
    accounts, the base unless told otherwise.
    """

    def __init__(
        self,
        genesis: Hash,
        mint: Pubkey,
        token_program: Pubkey,
        authority: Pubkey,
        decimals: int,
        *,
        signers: Sequence[Pubkey] = (),
        base: Pubkey | None = None,
        payer: Pubkey | None = None,
        marker_rent_lamports: int = MARKER_RENT_LAMPORTS,
    ) -> None:
        if signers and base is None:
            raise MetawattError("Minting with a multisig needs a base for its markers", ErrorCode.SETTINGS_INVALID)
        self._mint = mint
        self._token_program = token_program
        self._authority = authority
        self._decimals = decimals
        self._signers = tuple(signers)
        self._payer = payer or base or authority
        self._marker = Marker(genesis, mint, base or authority, marker_rent_lamports)

    @property
    def mint(self) -> Pubkey:
        return self._mint

    @property
    def token_program(self) -> Pubkey:
        return self._token_program

    def guard(self, order: Order) -> Pubkey:
        return self._marker.address(order)

    def destination(self, order: Order) -> Pubkey:
        return associated_account(order.wallet, self._mint, self._token_program)

    def instructions(self, order: Order, facts: Facts) -> list[Instruction]:
        found = self._marker.instructions(order, self._payer, facts.guard_lamports)
        if not facts.has_destination:
            found.append(create_associated_account(self._payer, order.wallet, self._mint, self._token_program))
        return [*found, self._mint_to(order)]

    def memo(self, orders: Sequence[Order]) -> Instruction:
        return reading_memo(order.key for order in orders)

    def minted(self, orders: Sequence[Order], seen: SeenTransaction) -> dict[bytes, int]:
        expected = {self.guard(order): Expected(order.key, self.destination(order)) for order in orders}
        return minted_after_markers(seen, self._mint, expected)

    def _mint_to(self, order: Order) -> Instruction:
        return mint_to_checked(
            self._token_program,
            self._mint,
            self.destination(order),
            self._authority,
            order.units,
            self._decimals,
            self._signers,
        )
