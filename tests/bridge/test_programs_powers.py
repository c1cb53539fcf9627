"""What others may do to a mint is told, and a mint whose accounts begin frozen is refused."""

from __future__ import annotations

import pytest
from solders.pubkey import Pubkey
from solders.token.state import Mint
from spl.token.constants import TOKEN_2022_PROGRAM_ID
from structlog.testing import capture_logs

from bridge.programs.mint import MintUnusable, checked_mint, demand_transfers
from bridge.programs.powers import begins_frozen, hindrance, powers_of_others
from bridge.solana.rpc import AccountState, SolanaRpc

OURS, OTHER = Pubkey.from_bytes(b"\x01" * 32), Pubkey.from_bytes(b"\x02" * 32)
ADDRESS = Pubkey.from_bytes(b"\x03" * 32)


def mint_data(*extensions: tuple[int, bytes], freeze: Pubkey | None = None) -> bytes:
    mint = bytes(Mint(mint_authority=OURS, supply=0, decimals=9, is_initialized=True, freeze_authority=freeze))
    if not extensions:
        return mint
    parts = (number.to_bytes(2, "little") + len(part).to_bytes(2, "little") + part for number, part in extensions)
    return mint.ljust(165, b"\0") + b"\x01" + b"".join(parts)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (mint_data(), []),
        (mint_data(freeze=OURS), []),
        (mint_data(freeze=OTHER), [f"{OTHER} may freeze token accounts"]),
        (mint_data((12, bytes(OTHER))), [f"{OTHER} may move and burn anybody's tokens"]),
        (mint_data((12, bytes(OURS))), []),
        (mint_data((12, bytes(32))), []),
        (mint_data((19, b"name"), (26, bytes(OTHER) + b"\0")), [f"{OTHER} may stop minting and transfers"]),
        (mint_data((12, b"\x02" * 31)), []),
        (mint_data() + b"\0" * 84 + b"\x0c\x00\xff", []),
    ],
)
def test_powers_of_others(data: bytes, told: list[str]) -> None:
    assert powers_of_others(data, OURS) == told


@pytest.mark.parametrize(
    ("data", "frozen"),
    [
        (mint_data(), False),
        (mint_data((6, b"\x01")), False),
        (mint_data((6, b"\x02")), True),
        (mint_data((12, bytes(OURS)), (6, b"\x02")), True),
        (mint_data((6, b"")), False),
    ],
)
def test_accounts_that_begin_frozen(data: bytes, frozen: bool) -> None:
    assert begins_frozen(data) is frozen


class OneAccount:
    """A cluster with one account."""

    def __init__(self, data: bytes) -> None:
        self._account = AccountState(1, TOKEN_2022_PROGRAM_ID, data)

    async def accounts(self, _addresses: list[Pubkey], _commitment: str) -> list[AccountState]:
        return [self._account]


async def checked(data: bytes) -> None:
    rpc: SolanaRpc = OneAccount(data)  # type: ignore[assignment]
    await checked_mint(rpc, ADDRESS, token_program=TOKEN_2022_PROGRAM_ID, decimals=9, authority=OURS)


async def test_whoever_connects_reads_of_it() -> None:
    with capture_logs() as logs:
        await checked(mint_data((12, bytes(OTHER)), freeze=OTHER))
    assert [entry["power"] for entry in logs] == [
        f"{OTHER} may move and burn anybody's tokens",
        f"{OTHER} may freeze token accounts",
    ]
    with pytest.raises(MintUnusable, match="begin frozen"):
        await checked(mint_data((6, b"\x02")))


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (mint_data(), None),
        (mint_data((1, bytes(108))), None),
        (mint_data((1, bytes(OURS) + bytes(76))), "fee"),
        (mint_data((1, bytes(88) + b"\x01\x00" + bytes(18))), "fee"),
        (mint_data((1, bytes(106) + b"\x01\x00")), "fee"),
        (mint_data((9, b"")), "cannot be transferred"),
        (mint_data((14, bytes(64))), None),
        (mint_data((14, bytes(32) + bytes(OTHER))), "call a program"),
        (mint_data((14, bytes(OTHER) + bytes(32))), "call a program"),
        (mint_data((12, bytes(OTHER))), None),
    ],
)
async def test_what_hinders_custody(data: bytes, told: str | None) -> None:
    found = hindrance(data)
    assert found is None if told is None else found is not None and told in found
    rpc: SolanaRpc = OneAccount(data)  # type: ignore[assignment]
    if told is None:
        await demand_transfers(rpc, ADDRESS, TOKEN_2022_PROGRAM_ID)
    else:
        with pytest.raises(MintUnusable, match=told):
            await demand_transfers(rpc, ADDRESS, TOKEN_2022_PROGRAM_ID)
