"""Minting by GridTokenX's energy_token program, in its three ways.

`mint_generation` keeps a record of each meter's window, and does nothing, successfully, when asked again, even
for another amount. The two others keep none: they get a marker of this node's, as the node's own mint does.
All three need the destination to be there, and the signature of a registered REC validator beside the
authority's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from solders.hash import Hash
from solders.instruction import Instruction
from solders.pubkey import Pubkey
from solders.system_program import ID as SYSTEM_PROGRAM_ID
from spl.token.constants import ASSOCIATED_TOKEN_PROGRAM_ID, TOKEN_2022_PROGRAM_ID

from bridge.programs import pda
from bridge.programs.attribution import Expected, explained, minted_after_markers
from bridge.programs.borsh import BorshError
from bridge.programs.idl import idl
from bridge.programs.instructions import Call, Kind, TokenInstruction, calls
from bridge.programs.marker import MARKER_RENT_LAMPORTS, Marker
from bridge.programs.memo import reading_memo
from bridge.programs.mode import Facts, Order
from bridge.programs.tokens import associated_account, create_associated_account
from bridge.solana.rpc import AccountState, SeenTransaction
from config.errors import BadRequest, ErrorCode


@dataclass(frozen=True, slots=True)
class Deployment:
    """Where energy_token is, and who mints with it.

    `authority` is that of its token_info account; it pays, unless there is a `payer`. `rec_validator` is a
    registered one, and another key than the authority; the program refuses to mint without it. `mint` is the
    one of the program's own seeds unless it is another.
    """

    program: Pubkey
    authority: Pubkey
    rec_validator: Pubkey | None = None
    payer: Pubkey | None = None
    mint: Pubkey | None = None
    token_program: Pubkey = TOKEN_2022_PROGRAM_ID

    @property
    def fee_payer(self) -> Pubkey:
        return self.payer or self.authority

    @property
    def token(self) -> Pubkey:
        return self.mint or pda.mint(self.program)


class WindowMisaligned(BadRequest):
    """energy_token mints windows of a quarter of an hour only."""

    default_code = ErrorCode.MINTING_FORBIDS


class _EnergyTokenMint:
    """What the three ways have in common."""

    def __init__(self, deployment: Deployment) -> None:
        self._at = deployment
        self._mint = deployment.token

    @property
    def mint(self) -> Pubkey:
        return self._mint

    @property
    def token_program(self) -> Pubkey:
        return self._at.token_program

    def destination(self, order: Order) -> Pubkey:
        return associated_account(order.wallet, self._mint, self._at.token_program)

    def memo(self, orders: Sequence[Order]) -> Instruction:
        return reading_memo(order.key for order in orders)

    def _destination_made(self, order: Order, facts: Facts) -> list[Instruction]:
        if facts.has_destination:
            return []
        at = self._at
        return [create_associated_account(at.fee_payer, order.wallet, self._mint, at.token_program)]

    def _wallet_accounts(self, order: Order) -> dict[str, Pubkey | None]:
        return {
            "mint": self._mint,
            "token_info": pda.token_info(self._at.program),
            "destination": self.destination(order),
            "destination_owner": order.wallet,
            "authority": self._at.authority,
            "rec_validator": self._at.rec_validator,
            "payer": self._at.fee_payer,
            "token_program": self._at.token_program,
            "associated_token_program": ASSOCIATED_TOKEN_PROGRAM_ID,
            "system_program": SYSTEM_PROGRAM_ID,
        }


class MintGeneration(_EnergyTokenMint):
    """`mint_generation`: its guard is the program's own record of the meter's window.

    It takes intervals that begin with a quarter of an hour, one reading a window: meters that measure more
    often are refused with `WindowMisaligned` for what begins elsewhere. The record says nothing of who minted
    it: its history does (bridge/minting/lookup.py). `recorded` reads the amount that it tells.
    """

    def guard(self, order: Order) -> Pubkey:
        return pda.gen_mint(self._at.program, pda.meter_bytes(order.meter), _window_start_ms(order))

    def instructions(self, order: Order, facts: Facts) -> list[Instruction]:
        call = idl("energy_token").instruction(
            self._at.program,
            "mint_generation",
            {**self._wallet_accounts(order), "mint_record": self.guard(order)},
            meter_id=pda.meter_bytes(order.meter),
            window_start_ms=_window_start_ms(order),
            amount=order.units,
        )
        return [*self._destination_made(order, facts), call]

    def minted(self, orders: Sequence[Order], seen: SeenTransaction) -> dict[bytes, int]:
        """A replay called the program, and minted nothing: what counts is what the call called in turn."""
        told = explained(seen, self._mint)
        if told is None:
            return {}
        wanted = {self.guard(order): order for order in orders if _is_aligned(order)}
        found: dict[bytes, int] = {}
        for call in calls(seen):
            if order := wanted.get(_record_of(call, self._at.program)):
                units = _minted_by(call, told.instructions, self.destination(order))
                if units is not None:
                    found[order.key] = units
        return found

    def recorded(self, account: AccountState) -> int | None:
        """The units that a guard's account says were minted for its window; None when it is no such record,
        or says that nothing was."""
        if account.owner != self._at.program:
            return None
        try:
            found = idl("energy_token").account(account.data)
        except BorshError:
            return None
        if found is None or found[0] != "GenerationMintRecord" or not found[1]["minted"]:
            return None
        return int(found[1]["amount"])


class _MarkedMint(_EnergyTokenMint, ABC):
    """A way that keeps no record, behind a marker that the paying key is the base of."""

    def __init__(
        self, genesis: Hash, deployment: Deployment, *, marker_rent_lamports: int = MARKER_RENT_LAMPORTS
    ) -> None:
        super().__init__(deployment)
        self._marker = Marker(genesis, self._mint, deployment.fee_payer, marker_rent_lamports)

    def guard(self, order: Order) -> Pubkey:
        return self._marker.address(order)

    def instructions(self, order: Order, facts: Facts) -> list[Instruction]:
        return [
            *self._marker.instructions(order, self._at.fee_payer, facts.guard_lamports),
            *self._destination_made(order, facts),
            self._call(order),
        ]

    def minted(self, orders: Sequence[Order], seen: SeenTransaction) -> dict[bytes, int]:
        expected = {self.guard(order): Expected(order.key, self.destination(order)) for order in orders}
        return minted_after_markers(seen, self._mint, expected)

    @abstractmethod
    def _call(self, order: Order) -> Instruction: ...


class MintToWallet(_MarkedMint):
    """`mint_to_wallet`, behind a marker."""

    def _call(self, order: Order) -> Instruction:
        accounts = self._wallet_accounts(order)
        return idl("energy_token").instruction(self._at.program, "mint_to_wallet", accounts, amount=order.units)


class MintDirect(_MarkedMint):
    """`mint_tokens_direct`, behind a marker. `registry_authority` is the one that token_info names. The
    validator must sign; the authority stands in for it where none is registered."""

    def __init__(
        self,
        genesis: Hash,
        deployment: Deployment,
        registry_authority: Pubkey,
        *,
        marker_rent_lamports: int = MARKER_RENT_LAMPORTS,
    ) -> None:
        super().__init__(genesis, deployment, marker_rent_lamports=marker_rent_lamports)
        self._registry_authority = registry_authority

    def _call(self, order: Order) -> Instruction:
        accounts: dict[str, Pubkey | None] = {
            "token_info": pda.token_info(self._at.program),
            "mint": self._mint,
            "user_token_account": self.destination(order),
            "authority": self._at.authority,
            "registry_authority": self._registry_authority,
            "rec_validator": self._at.rec_validator or self._at.authority,
            "token_program": self._at.token_program,
        }
        return idl("energy_token").instruction(self._at.program, "mint_tokens_direct", accounts, amount=order.units)


def _is_aligned(order: Order) -> bool:
    return order.interval_start_ms > 0 and order.interval_start_ms % pda.WINDOW_MS == 0


def _window_start_ms(order: Order) -> int:
    if not _is_aligned(order):
        raise WindowMisaligned(
            f"energy_token mints windows of 15 minutes: the interval of meter {order.meter} that begins at "
            f"{order.interval_start_ms} ms does not begin with one"
        )
    return order.interval_start_ms


def _record_of(call: Call, program: Pubkey) -> Pubkey:
    """The record that a call of mint_generation names; the program itself for any other call."""
    method = idl("energy_token").methods["mint_generation"]
    place = [slot.name for slot in method.slots].index("mint_record")
    is_it = call.program == program and call.data.startswith(method.discriminator)
    return call.accounts[place] if is_it and len(call.accounts) > place else program


def _minted_by(call: Call, told: Sequence[TokenInstruction], destination: Pubkey) -> int | None:
    """The units of the only mint within an outer instruction; None when there is none, or more, or when it
    went elsewhere."""
    mints = [one for one in told if one.kind is Kind.MINT and one.path.outer == call.path.outer]
    if call.path.inner or len(mints) != 1 or mints[0].destination != destination:
        return None
    return mints[0].units
