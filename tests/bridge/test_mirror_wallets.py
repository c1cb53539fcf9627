"""Which addresses on Solana tokens may be sent to."""

from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st
from solders.hash import Hash
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.system_program import ID as SYSTEM_PROGRAM_ID
from spl.token.constants import TOKEN_PROGRAM_ID

from bridge.mirror.to_solana.wallets import against_account, against_address, wallet_in
from bridge.solana.rpc import AccountState
from tests.bridge.exits_kit import an_asset

ASSET = an_asset(Hash.default())


@given(st.binary(min_size=32, max_size=32))
def test_every_key_that_signs_may_be_a_wallet(seed: bytes) -> None:
    wallet = Keypair.from_seed(seed).pubkey()
    assert against_address(str(wallet), ASSET) is None


@given(st.binary(min_size=32, max_size=32))
def test_what_is_off_the_curve_is_none(raw: bytes) -> None:
    address = Pubkey.from_bytes(raw)
    assume(address != SYSTEM_PROGRAM_ID)  # which is on the curve, being all zeros
    assert (against_address(str(address), ASSET) is None) == address.is_on_curve()


@given(st.text(max_size=128) | st.text(alphabet="123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"))
def test_no_text_is_too_strange(text: str) -> None:
    address = wallet_in(text)
    assert address is None or str(address) == text
    assert address is not None or against_address(text, ASSET) is not None


def test_the_bridge_pays_nothing_to_itself() -> None:
    for address in (ASSET.owner, ASSET.custody, ASSET.mint, ASSET.token_program, SYSTEM_PROGRAM_ID):
        assert against_address(str(address), ASSET) is not None


def test_an_account_belongs_to_who_may_write_it() -> None:
    assert against_account(None) is None
    assert against_account(AccountState(1, SYSTEM_PROGRAM_ID, b"")) is None
    fault = against_account(AccountState(1, TOKEN_PROGRAM_ID, bytes(165)))
    assert fault is not None
    assert str(TOKEN_PROGRAM_ID) in fault
