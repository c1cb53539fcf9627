"""What a buyer checks for itself, trusting block headers only."""

from __future__ import annotations

from cli.play.client import Found, PlayFailed
from overlay.chain import HeaderSource
from topics.keychain import Keychain


async def check_proof(found: Found, headers: HeaderSource) -> str:
    """Check that a certificate's transaction is in a block, and that its issuer signed it; in words, where.

    The Merkle root is computed from the transaction's own bytes and the path in the BEEF, and compared with
    that of the block's header.
    """
    subject, bump = found.envelope.subject, found.envelope.subject_bump
    if bump is None:
        raise PlayFailed(f"{subject.txid_hex} came without a Merkle path")
    mined = await headers.range(bump.height, 1)
    if not mined or bump.root_for(subject.txid) != mined[0].merkle_root:
        raise PlayFailed(f"the Merkle path of {subject.txid_hex} leads to another root than the header's")
    token = found.token
    if not Keychain().issuer_signed(token.issuer_key, token.signed_text, token.signature, token.issuance_id):
        raise PlayFailed(f"the issuer's signature on {token.issuance_id} does not verify")
    return f"{subject.txid_hex[:16]}… is in block {bump.height}, and its issuer's signature verifies"
