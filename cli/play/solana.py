"""What anybody can read from Solana of the tokens, by solana-py and without asking the node."""

from __future__ import annotations

from dataclasses import dataclass

from solana.rpc.async_api import AsyncClient
from solders.hash import Hash
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.token.state import Mint
from solders.transaction import VersionedTransaction
from spl.memo.constants import MEMO_PROGRAM_ID
from spl.token.instructions import get_associated_token_address

from bridge.programs.marker import Marker
from bridge.programs.mode import Order
from bridge.records import reading_key
from cli.play.client import PlayFailed
from cli.play.meters import Measured, SmartMeter


@dataclass(frozen=True, slots=True)
class Ledger:
    """The mint on its cluster."""

    client: AsyncClient
    mint: Pubkey

    def account(self, wallet: Pubkey) -> Pubkey:
        """The wallet's token account."""
        return get_associated_token_address(wallet, self.mint)

    async def balance(self, wallet: Pubkey) -> int:
        """Base units that the wallet holds, final."""
        reply = await self.client.get_token_account_balance(self.account(wallet))
        return int(reply.value.amount)

    async def memo(self, signature: str) -> str:
        """The memo of a final transaction."""
        reply = await self.client.get_transaction(
            Signature.from_string(signature), encoding="base64", max_supported_transaction_version=0
        )
        transaction = None if reply.value is None else reply.value.transaction.transaction
        if isinstance(transaction, VersionedTransaction):
            message = transaction.message
            for instruction in message.instructions:
                if message.account_keys[instruction.program_id_index] == MEMO_PROGRAM_ID:
                    return instruction.data.decode()
        raise PlayFailed(f"{signature} has no memo")

    async def marker(self, meter: SmartMeter, measured: Measured) -> Pubkey:
        """The account that says that the interval was minted; its address follows from what is public."""
        base = Mint.from_bytes(await self._data(self.mint)).mint_authority
        genesis: Hash = (await self.client.get_genesis_hash()).value
        if base is None:
            raise PlayFailed(f"the mint {self.mint} has no authority")
        key = reading_key(meter.serial, measured.start_ms)
        order = Order(key, meter.serial, measured.start_ms, meter.wallet, 1)
        address = Marker(genesis, self.mint, base).address(order)
        account = (await self.client.get_account_info(address)).value
        if account is None or account.owner != MEMO_PROGRAM_ID:
            raise PlayFailed(f"there is no marker at {address}")
        return address

    async def _data(self, address: Pubkey) -> bytes:
        account = (await self.client.get_account_info(address)).value
        if account is None:
            raise PlayFailed(f"Solana knows no account {address}")
        return bytes(account.data)
