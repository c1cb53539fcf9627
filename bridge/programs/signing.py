"""A packed transaction gets its blockhash and its signatures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from solders.hash import Hash
from solders.message import Message
from solders.transaction import VersionedTransaction

from bridge.programs.keys import Signer
from bridge.programs.packing import Packed
from config.errors import ErrorCode, MetawattError


class SignerMissing(MetawattError):
    """A transaction asks for a signature that this node has no key for."""

    default_code = ErrorCode.MINTING_FORBIDS


async def signed(packed: Packed[Any], blockhash: Hash, signers: Sequence[Signer]) -> VersionedTransaction:
    """The transaction as it is stored and sent: in the legacy encoding, two bytes shorter than version 0.

    The same input gives the same bytes. Signers that it does not ask for are not asked. Raises
    `SignerMissing`, and what a signer raises.
    """
    message = Message.new_with_blockhash(packed.instructions, packed.payer, blockhash)
    raw = bytes(message)
    by_key = {signer.public: signer for signer in signers}
    signatures = []
    for key in message.account_keys[: message.header.num_required_signatures]:
        if key not in by_key:
            raise SignerMissing(f"The transaction needs a signature of {key}")
        signatures.append(await by_key[key].sign(raw))
    return VersionedTransaction.populate(message, signatures)
