"""One exchange with a user's wallet, by which it signs what was prepared for an action.

    createAction ─ what was prepared comes first? ─ createSignature for each certificate ─ signAction

It is what a user's app does (docs/REGISTRY.md, "How a wallet signs"). Keys stay in the wallet.
"""

from __future__ import annotations

from contextlib import suppress

from basket.remote import RemoteWallet, Signable
from certificates.token import OWNER_PROTOCOL
from config.errors import BadRequest, ErrorCode, Unavailable
from energytag.delivery import key_of_counterparty
from energytag.signing import Prepared, check_signed, create_action, unlocking_script
from overlay.builder import Sighasher
from overlay.envelope import EnvelopeLimits, parse_envelope
from overlay.hydrate import load_kept
from overlay.transaction import Output, Transaction, split_outpoint
from store.port import Reader


class Exchange:
    """Errors are those of `RemoteWallet`, and `BadRequest(SIGNED_OTHERWISE)` for a wallet that makes something
    else. After an error, and when the transaction is not taken, `forget` is due; after success `share`."""

    def __init__(self, reader: Reader, wallet: RemoteWallet, prepared: Prepared, limits: EnvelopeLimits) -> None:
        self._reader = reader
        self._wallet = wallet
        self._prepared = prepared
        self._limits = limits
        self._reference: str | None = None

    async def demand_identity(self, identity_key: bytes) -> None:
        """That this is the wallet that the certificates are locked to."""
        if await self._wallet.identity_key() != identity_key:
            raise BadRequest("the wallet is not the account's", ErrorCode.SIGNED_OTHERWISE)

    async def signed(self) -> bytes:
        """The transaction, signed by the wallet: BEEF."""
        signable = await self._begin()
        check_signed(self._prepared, signable.beef, self._limits)
        # What is signed commits to the values of the coins, which are not the wallet's to tell.
        transaction, coins = parse_envelope(signable.beef, self._limits).subject, await self._coins()
        hasher = Sighasher(transaction)
        scripts = {index: await self._unlock(index, hasher.digest(index, coin)) for index, coin in enumerate(coins)}
        return await self._wallet.sign_action(signable.reference, scripts)

    async def _begin(self) -> Signable:
        asked = await create_action(self._reader, self._prepared)
        action = await self._wallet.create_action(asked["createAction"])
        if action.signable is None:
            raise BadRequest("the wallet did not ask for signatures", ErrorCode.SIGNED_OTHERWISE)
        self._reference = action.signable.reference
        return action.signable

    async def _unlock(self, index: int, digest: bytes) -> bytes:
        spend = self._prepared.spends[index]
        if spend.key_id is None or spend.sender is None:
            raise BadRequest("only the wallet knows how to unlock an input", ErrorCode.SIGNATURE_AWAITED)
        other = key_of_counterparty(spend.sender)
        return unlocking_script(await self._wallet.sign(digest, OWNER_PROTOCOL, spend.key_id, other))

    async def _coins(self) -> list[Output]:
        places = [split_outpoint(each.outpoint) for each in self._prepared.spends]
        kept = await load_kept(self._reader, {txid for txid, _ in places})
        if any(txid not in kept for txid, _ in places):
            raise BadRequest("a certificate's transaction was evicted meanwhile", ErrorCode.OUTPUT_UNKNOWN)
        transactions = {txid: Transaction.parse(kept[txid].raw) for txid, _ in places}
        return [transactions[txid].outputs[index] for txid, index in places]

    async def forget(self) -> None:
        """Have the wallet give up what it began, so that its coins are free again; as far as it can be reached."""
        if self._reference is not None:
            with suppress(Unavailable):
                await self._wallet.abort_action(self._reference)

    async def share(self, txid_hex: str) -> None:
        """Tell the wallet that it may use its change; as far as it can be reached."""
        with suppress(Unavailable):
            await self._wallet.send_with(txid_hex)
