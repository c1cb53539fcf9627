"""A cluster under test, advanced by hand, and what is sent to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from solders.account import Account
from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.system_program import (
    AllocateWithSeedParams,
    CreateAccountParams,
    TransferParams,
    allocate_with_seed,
    create_account,
    transfer,
)
from solders.token.state import Mint, TokenAccount
from solders.transaction import VersionedTransaction
from spl.token import models
from spl.token.constants import MINT_LEN, TOKEN_2022_PROGRAM_ID, TOKEN_PROGRAM_ID
from spl.token.instructions import (
    burn_checked,
    create_idempotent_associated_token_account,
    get_associated_token_address,
    initialize_mint2,
    mint_to_checked,
    transfer_checked,
)

from bridge.cluster.cluster import Cluster
from bridge.cluster.executed import Executed
from bridge.cluster.runtime import MEMO
from store.sqlite import SqliteStore

PROGRAMS = (TOKEN_PROGRAM_ID, TOKEN_2022_PROGRAM_ID)
SOL = 10**9
DECIMALS = 9


@dataclass
class Clock:
    """Time that stands still until it is moved."""

    now_ms: int = 1_700_000_000_000

    def __call__(self) -> int:
        return self.now_ms


def cluster_at(
    folder: Path, *, slot_ms: int = 0, now_ms: Clock | None = None, programs: Mapping[Pubkey, bytes] | None = None
) -> Cluster:
    """A cluster that is not open yet, on a store in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    store = SqliteStore(folder / "solana.db", cache_mib=4)
    return Cluster(store, network="dev", slot_ms=slot_ms, now_ms=now_ms or Clock(), programs=programs or {})


@asynccontextmanager
async def opened(folder: Path, **options: object) -> AsyncIterator[Cluster]:
    """An open cluster; closed at the end."""
    cluster = cluster_at(folder, **options)  # type: ignore[arg-type]
    await cluster.open()
    try:
        yield cluster
    finally:
        await cluster.close()


def keypair(name: str) -> Keypair:
    """Always the same one for a name."""
    return Keypair.from_seed(sha256(name.encode()).digest())


def memo(text: str | bytes, *signers: Pubkey, program: Pubkey = MEMO) -> Instruction:
    data = text if isinstance(text, bytes) else text.encode()
    return Instruction(program, data, [AccountMeta(each, is_signer=True, is_writable=False) for each in signers])


def pay(source: Keypair, target: Pubkey, lamports: int) -> Instruction:
    return transfer(TransferParams(from_pubkey=source.pubkey(), to_pubkey=target, lamports=lamports))


def marker(base: Keypair, text: str) -> tuple[Pubkey, list[Instruction]]:
    """An address that can be taken once, and the instructions that take it."""
    seed = sha256(text.encode()).hexdigest()[:32]
    address = Pubkey.create_with_seed(base.pubkey(), seed, MEMO)
    taken = allocate_with_seed(
        AllocateWithSeedParams(address=address, base=base.pubkey(), seed=seed, space=0, owner=MEMO)
    )
    return address, [pay(base, address, 890_880), taken]


def signed(instructions: Sequence[Instruction], signers: Sequence[Keypair], blockhash: Hash) -> bytes:
    """A version 0 transaction, paid by the first signer."""
    message = MessageV0.try_compile(signers[0].pubkey(), list(instructions), [], blockhash)
    return bytes(VersionedTransaction(message, list(signers)))


def signature_of(raw: bytes) -> Signature:
    return VersionedTransaction.from_bytes(raw).signatures[0]


@dataclass
class Bench:
    """A cluster with a funded payer; a transaction names the tip's blockhash, and is sent without preflight."""

    cluster: Cluster
    payer: Keypair = field(default_factory=lambda: keypair("payer"))

    async def fund(self, *keys: Keypair, lamports: int = 100 * SOL) -> None:
        for key in keys or (self.payer,):
            await self.cluster.airdrop(key.pubkey(), lamports)

    def build(self, instructions: Sequence[Instruction], *signers: Keypair) -> bytes:
        blockhash = self.cluster.latest_blockhash("processed").value
        return signed(instructions, [self.payer, *signers], blockhash)

    async def send(self, instructions: Sequence[Instruction], *signers: Keypair) -> Signature:
        return await self.cluster.send(self.build(instructions, *signers), skip_preflight=True)

    async def done(self, instructions: Sequence[Instruction], *signers: Keypair) -> Executed:
        """Send, and what became of it."""
        executed = await self.cluster.executed(await self.send(instructions, *signers), "processed")
        assert executed is not None
        return executed

    async def must(self, instructions: Sequence[Instruction], *signers: Keypair) -> Executed:
        executed = await self.done(instructions, *signers)
        assert executed.error is None, executed.logs
        return executed


@dataclass
class TokenBench:
    """A mint of one of the token programs, with the payer as its authority."""

    bench: Bench
    program: Pubkey
    mint: Keypair

    @classmethod
    async def made(cls, bench: Bench, program: Pubkey = TOKEN_PROGRAM_ID, name: str = "mint") -> TokenBench:
        mint, payer = keypair(name), bench.payer.pubkey()
        rent = bench.cluster.rent_exempt_lamports(MINT_LEN)
        created = create_account(
            CreateAccountParams(
                from_pubkey=payer, to_pubkey=mint.pubkey(), lamports=rent, space=MINT_LEN, owner=program
            )
        )
        parameters = models.InitializeMint2Params(
            decimals=DECIMALS, program_id=program, mint=mint.pubkey(), mint_authority=payer
        )
        await bench.must([created, initialize_mint2(parameters)], mint)
        return cls(bench, program, mint)

    def address(self, owner: Pubkey) -> Pubkey:
        return get_associated_token_address(owner, self.mint.pubkey(), self.program)

    def create(self, owner: Pubkey) -> Instruction:
        payer = self.bench.payer.pubkey()
        return create_idempotent_associated_token_account(payer, owner, self.mint.pubkey(), self.program)

    def mint_to(self, owner: Pubkey, units: int, *, authority: Pubkey | None = None) -> Instruction:
        return mint_to_checked(
            models.MintToCheckedParams(
                program_id=self.program,
                mint=self.mint.pubkey(),
                dest=self.address(owner),
                mint_authority=authority or self.bench.payer.pubkey(),
                amount=units,
                decimals=DECIMALS,
            )
        )

    def transfer(self, source: Pubkey, target: Pubkey, units: int) -> Instruction:
        return transfer_checked(
            models.TransferCheckedParams(
                program_id=self.program,
                mint=self.mint.pubkey(),
                source=self.address(source),
                dest=self.address(target),
                owner=source,
                amount=units,
                decimals=DECIMALS,
            )
        )

    def burn(self, owner: Pubkey, units: int) -> Instruction:
        return burn_checked(
            models.BurnCheckedParams(
                program_id=self.program,
                mint=self.mint.pubkey(),
                account=self.address(owner),
                owner=owner,
                amount=units,
                decimals=DECIMALS,
            )
        )

    def supply(self, commitment: str = "processed") -> int:
        account = self.bench.cluster.account(self.mint.pubkey(), commitment)  # type: ignore[arg-type]
        assert account is not None
        return Mint.from_bytes(account.data[:MINT_LEN]).supply

    def held(self, owner: Pubkey, commitment: str = "processed") -> int | None:
        account = self.bench.cluster.account(self.address(owner), commitment)  # type: ignore[arg-type]
        return None if account is None else TokenAccount.from_bytes(account.data[:165]).amount


def state(
    cluster: Cluster, addresses: Iterable[Pubkey], commitment: str = "processed"
) -> dict[str, Account | None]:
    """The accounts, to be compared."""
    return {str(each): cluster.account(each, commitment) for each in addresses}  # type: ignore[arg-type]
