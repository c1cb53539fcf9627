"""I5 to the Wh: whatever is done in whatever order, the registry, the index and the chain agree.

The model knows every single certificate. Actions come in batches, so that the queue plans several before any of
them is on chain. After each batch three views are held against the model: the live outputs of the chain, the
index's partition of every issuance, and what the registry finds in every account.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, groupby
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from certificates.ranges import Range
from config.settings import Settings
from energytag.actions import Action, Kind, State
from energytag.choosing import standing_of
from energytag.holdings import load, shown
from energytag.records import BASKET
from lookup.audit import check_partitions
from lookup.filters import Filters
from overlay.records import OUTPUTS, SPENDS
from store.port import Find
from store.sqlite import SqliteStore
from tests.energytag.kit import ACCOUNT, DEVICE, OTHER_ACCOUNT, RegistryNode, moment
from tests.overlay.kit import Chain, Clock

USER: Final = "11111111-2222-4333-8444-555555555555"
ACCOUNTS: Final = (ACCOUNT, OTHER_ACCOUNT)
EXIT: Final = {"chain": "solana", "address": "9xQeWvG816bUx9EPjHmaT23yvVM2ZWbrrpZb9PusVFin"}
LIFETIME_DAYS: Final = 155
"""From production in the first days of the year; the clock stands 151 days later."""
DAY_MS: Final = 86_400_000
LONG: Final = bool(os.environ.get("METAWATT_TEST_LONG"))


@dataclass(slots=True)
class Certificate:
    """One certificate; `coin` is the output that it is in."""

    number: int
    coin: int
    account: str
    status: str = "Active"
    withdrawn: bool = False


@dataclass(slots=True)
class Issuance:
    """What was issued for one hour, on a day of the year."""

    day: int
    face_value: int
    certificates: list[Certificate]
    issuance_id: str = ""

    def shows(self, certificate: Certificate, today: int) -> str:
        if certificate.withdrawn:
            return "Withdrawn"
        if certificate.status in ("Active", "Reserved") and today >= self.day + LIFETIME_DAYS:
            return "Expired"
        return certificate.status


class Refused(Exception):
    """The model refuses."""


@dataclass(slots=True)
class Model:
    """Every certificate there ever was. `today` counts days from the first of the year."""

    today: int = 151
    issuances: list[Issuance] = field(default_factory=list)
    _next_number: int = 1
    _coins: int = 0

    def coin(self) -> int:
        self._coins += 1
        return self._coins

    def issue(self, day: int, quantity: int, face_value: int) -> None:
        if any(each.day == day and not all(c.withdrawn for c in each.certificates) for each in self.issuances):
            raise Refused
        coin = self.coin()
        numbers = range(self._next_number, self._next_number + quantity)
        self._next_number += quantity
        self.issuances.append(Issuance(day, face_value, [Certificate(n, coin, ACCOUNT) for n in numbers]))

    def take(
        self, account: str, statuses: Iterable[str], quantity: int | None, *, may_cut: bool = False
    ) -> list[Certificate]:
        """The first certificates of an account that show one of the statuses; of any other than Active only
        whole coins, unless no coin is spent."""
        free = [
            certificate
            for each in sorted(self.issuances, key=lambda each: each.day)
            for certificate in each.certificates
            if certificate.account == account and each.shows(certificate, self.today) in statuses
        ]
        if not free or (quantity or 0) > len(free):
            raise Refused
        taken = free[:quantity]
        coins = {certificate.coin for certificate in taken}
        cut = [each for each in free[len(taken) :] if each.coin in coins and each.status != "Active"]
        if cut and not may_cut:
            raise Refused
        return taken

    def move(self, taken: list[Certificate], change: Callable[[Certificate], None]) -> None:
        """Change what is taken; every coin falls into runs of what is taken and what is kept."""
        chosen = {id(certificate) for certificate in taken}
        touched = {certificate.coin for certificate in taken}
        by_coin: dict[int, list[Certificate]] = defaultdict(list)
        for each in self.issuances:
            for certificate in each.certificates:
                if certificate.coin in touched:
                    by_coin[certificate.coin].append(certificate)
        for coin in by_coin.values():
            for is_taken, run in groupby(coin, key=lambda certificate: id(certificate) in chosen):
                self._put(list(run), change if is_taken else _kept)

    def replace(self, taken: list[Certificate], status: str) -> None:
        """Whole coins to another status, what is withdrawn of them too."""
        touched = {certificate.coin for certificate in taken}
        for each in self.issuances:
            for certificate in each.certificates:
                if certificate.coin in touched:
                    certificate.status = status
        renamed = {coin: self.coin() for coin in touched}
        for each in self.issuances:
            for certificate in each.certificates:
                certificate.coin = renamed.get(certificate.coin, certificate.coin)

    def _put(self, run: list[Certificate], change: Callable[[Certificate], None]) -> None:
        coin = self.coin()
        for certificate in run:
            certificate.coin = coin
            change(certificate)


def _kept(certificate: Certificate) -> None:
    certificate.status = "Active"


@dataclass(frozen=True, slots=True)
class Step:
    """One action: its request, and what the model makes of it."""

    kind: Kind
    request: dict[str, Any]
    apply: Callable[[Model], None]


def _setting(**changes: Any) -> Callable[[Certificate], None]:
    def change(certificate: Certificate) -> None:
        for name, value in changes.items():
            setattr(certificate, name, value)

    return change


def _body(account: str, quantity: int | None, **fields: Any) -> dict[str, Any]:
    body = {"source_account_id": account, "source_user_id": USER} | fields
    return body if quantity is None else body | {"certificate_quantity": quantity}


def issuing(day: int, quantity: int, face_value: int) -> Step:
    reading = {"start": moment(24 * day), "end": moment(24 * day + 1), "energy_wh": quantity * face_value}
    request = {"device_id": DEVICE, "face_value": face_value, "readings": [reading]}
    return Step(Kind.CREATE_MANY, request, lambda model: model.issue(day, quantity, face_value))


def transferring(account: str, quantity: int | None) -> Step:
    target = ACCOUNTS[1 - ACCOUNTS.index(account)]

    def apply(model: Model) -> None:
        model.move(model.take(account, ["Active"], quantity), _setting(account=target))

    return Step(Kind.TRANSFER, _body(account, quantity, target_account_id=target), apply)


def splitting(account: str, quantity: int) -> Step:
    def apply(model: Model) -> None:
        taken = model.take(account, ["Active"], quantity)
        whole = defaultdict(int)
        for each in model.issuances:
            for certificate in each.certificates:
                whole[certificate.coin] += 1
        parts = defaultdict(int)
        for certificate in taken:
            parts[certificate.coin] += 1
        cut = [certificate for certificate in taken if parts[certificate.coin] < whole[certificate.coin]]
        if not cut:
            raise Refused
        model.move(cut, _setting())

    return Step(Kind.SPLIT, _body(account, quantity), apply)


def cancelling(account: str, quantity: int | None, beneficiary: str, status: str | None) -> Step:
    statuses = ["Active", "Reserved"] if status is None else [status]
    chosen = {} if status is None else {"certificate_status": status}

    def apply(model: Model) -> None:
        change = _setting(account=beneficiary, status="Cancelled")
        model.move(model.take(account, statuses, quantity), change)

    return Step(Kind.CANCEL, _body(account, quantity, beneficiary=beneficiary, **chosen), apply)


def changing(kind: Kind, before: str, after: str, **fields: Any) -> Callable[[str, int | None], Step]:
    """Actions by which certificates stay in their account."""

    def step(account: str, quantity: int | None) -> Step:
        def apply(model: Model) -> None:
            model.move(model.take(account, [before], quantity), _setting(status=after))

        return Step(kind, _body(account, quantity, **fields), apply)

    return step


def replacing(kind: Kind, before: str) -> Callable[[str, int | None], Step]:
    """Actions by which whole coins become Active again."""

    def step(account: str, quantity: int | None) -> Step:
        def apply(model: Model) -> None:
            model.replace(model.take(account, [before], quantity), "Active")

        return Step(kind, _body(account, quantity), apply)

    return step


def withdrawing(account: str, quantity: int | None) -> Step:
    def apply(model: Model) -> None:
        for certificate in model.take(account, ["Active", "Reserved", "Locked"], quantity, may_cut=True):
            certificate.withdrawn = True

    return Step(Kind.WITHDRAW, _body(account, quantity), apply)


claiming = changing(Kind.CLAIM, "Cancelled", "Claimed")
reserving = changing(Kind.RESERVE, "Active", "Reserved")
locking = changing(Kind.LOCK, "Active", "Locked", exit=EXIT)
releasing = replacing(Kind.RELEASE, "Reserved")
unlocking = replacing(Kind.UNLOCK, "Locked")

WHOSE = st.sampled_from(ACCOUNTS)
HOW_MANY = st.integers(1, 25)
MAYBE = st.none() | HOW_MANY
DAYS = st.sampled_from([0, 0, 0, 0, 0, 1])
STEPS = st.one_of(
    st.builds(issuing, st.integers(0, 5), st.integers(1, 40), st.sampled_from([1, 25])),
    st.builds(transferring, WHOSE, HOW_MANY),
    st.builds(splitting, WHOSE, HOW_MANY),
    st.builds(cancelling, WHOSE, HOW_MANY, WHOSE, st.sampled_from([None, "Active", "Reserved"])),
    st.builds(claiming, WHOSE, st.none()),
    st.builds(reserving, WHOSE, HOW_MANY),
    st.builds(locking, WHOSE, HOW_MANY),
    st.builds(releasing, WHOSE, MAYBE),
    st.builds(unlocking, WHOSE, MAYBE),
    st.just(transferring(OTHER_ACCOUNT, None)),
    st.just(withdrawing(ACCOUNT, None)),
    st.builds(withdrawing, WHOSE, HOW_MANY),
)


def _and_back(account: str, quantity: int) -> list[list[Step]]:
    """Actions that follow on each other."""
    return [
        [cancelling(account, quantity, account, "Active"), claiming(account, None)],
        [reserving(account, quantity), cancelling(account, None, account, "Reserved")],
        [reserving(account, quantity), withdrawing(account, quantity), releasing(account, None)],
        [locking(account, quantity), unlocking(account, None)],
    ]


SEQUENCES = st.builds(_and_back, WHOSE, HOW_MANY).flatmap(st.sampled_from)
BATCHES = st.lists(STEPS.map(lambda step: [step]) | SEQUENCES, min_size=1, max_size=4).map(
    lambda each: list(chain.from_iterable(each))
)


class Machine(RuleBasedStateMachine):
    """The real registry, step by step beside the model."""

    @initialize(quantities=st.tuples(*[st.integers(20, 50)] * 3))
    def begin(self, quantities: tuple[int, ...]) -> None:
        """Both accounts have something."""
        self.runner = asyncio.Runner()
        self.folder = Path(mkdtemp(prefix="conservation"))
        self.model = Model()
        self.runner.run(self._open())
        issued = [issuing(day, quantity, 10) for day, quantity in enumerate(quantities)]
        self.runner.run(self._batch([*issued, transferring(ACCOUNT, 40)]))

    @rule(steps=BATCHES, days=DAYS)
    def act(self, steps: list[Step], days: int) -> None:
        self.model.today += days
        self.registry.clock.now_ms += days * DAY_MS
        self.runner.run(self._batch(steps))

    def teardown(self) -> None:
        if hasattr(self, "runner"):
            self.runner.run(self._close())
            self.runner.close()
            shutil.rmtree(self.folder)

    async def _open(self) -> None:
        clock = Clock()
        self.chain = Chain(self.folder, clock)
        await self.chain.open()
        chosen = Settings.model_validate(
            {
                "topics": {"bridge_keys": [self.chain.issuer.public.hex()]},
                "bridge": {"enabled": False},
                "registry": {"lifetime_days": LIFETIME_DAYS, "bundles_per_transaction": 3},
            }
        )
        self.registry = RegistryNode(self.chain, SqliteStore(self.folder / "node.db", cache_mib=4), clock, chosen)
        await self.registry.open()
        await self.registry.populate()

    async def _close(self) -> None:
        await self.registry.close()
        await self.chain.close()

    async def _batch(self, steps: list[Step]) -> None:
        """All steps wait in the queue before the first is planned; they are carried out in their order."""
        await self.registry.registry.stop()
        waiting = [await self.registry.act(step.kind, step.request, wait_secs=0) for step in steps]
        await self.registry.registry.start()
        for outcome, step in zip(waiting, steps, strict=True):
            self._compare(await self._settled(outcome.action), step)
        await self._check()

    async def _settled(self, action: Action) -> Action:
        async with asyncio.timeout(30):
            while not action.is_settled:
                await asyncio.sleep(0.005)
                action = await self.registry.registry.action(action.action_id)
        return action

    def _compare(self, action: Action, step: Step) -> None:
        try:
            step.apply(self.model)
        except Refused:
            assert action.state is State.REJECTED, (step.kind, step.request, action.result)
        else:
            assert action.state is State.RESOLVED, (step.kind, step.request, action.error)

    # What must agree

    async def _check(self) -> None:
        await self._check_chain()
        for each in self.model.issuances:
            await self._check_index(each)
        for account in ACCOUNTS:
            await self._check_account(account)
        assert await check_partitions(self.registry.store) == []

    async def _check_chain(self) -> None:
        """The live outputs are the model's coins, and the basket knows how those in accounts are locked."""
        found = {}
        for holding in await self._live():
            token = holding.token
            tag = token.bundle.attributes
            found[token.bundle.range] = (
                tag["account_id"],
                tag["certificate_status"],
                token.bundle.energy_wh,
                holding.key_id is not None,
            )
            self._named(token.issued).issuance_id = token.issuance_id
        assert found == dict(self._coins())
        in_keeping = sum(is_known for *_, is_known in found.values())
        assert await self.registry.store.count(BASKET) == in_keeping

    async def _live(self) -> list[Any]:
        page = await self.registry.store.find(OUTPUTS, Find("by_seq", limit=100_000))
        keys = [document["_id"] for document in page.documents]
        spent = await self.registry.store.get_many(SPENDS, keys)
        return await load(self.registry.store, [key for key in keys if key not in spent])

    def _named(self, issued: Range) -> Issuance:
        return next(each for each in self.model.issuances if each.certificates[0].number == issued.start)

    def _coins(self) -> Iterator[tuple[Range, tuple[str, str, int, bool]]]:
        for each in self.model.issuances:
            for _, coin in groupby(each.certificates, key=lambda certificate: certificate.coin):
                run = list(coin)
                (said,) = {(certificate.account, certificate.status) for certificate in run}
                whole = Range(run[0].number, run[-1].number)
                yield whole, (*said, len(run) * each.face_value, said[1] != "Locked")

    async def _check_index(self, issuance: Issuance) -> None:
        answer = await self.registry.node.engine.lookup(
            "ls_metawatt", {"ranges": {"issuance_id": issuance.issuance_id}}
        )
        told = answer.result
        assert told["is_partition"]
        assert told["face_value"] == issuance.face_value
        shows = {}
        for part in told["ranges"]:
            shows |= dict.fromkeys(range(part["start"], part["end"] + 1), part["status"])
        assert shows == {
            certificate.number: issuance.shows(certificate, self.model.today)
            for certificate in issuance.certificates
        }

    async def _check_account(self, account: str) -> None:
        """What stands in an account, in Wh by status."""
        found: dict[str, int] = defaultdict(int)
        now_secs = self.registry.clock.now_ms // 1000
        async for page in shown(self.registry.store, Filters({"account_id": (account,)}), now_secs):
            for each in page:
                status, free = standing_of(each, now_secs)
                withdrawn = each.record["quantity"] - sum(part.quantity for part in free)
                found[status] += sum(part.quantity for part in free) * each.record["face_value"]
                found["Withdrawn"] += withdrawn * each.record["face_value"]
        expected: dict[str, int] = defaultdict(int)
        for issuance in self.model.issuances:
            for certificate in issuance.certificates:
                if certificate.account == account:
                    expected[issuance.shows(certificate, self.model.today)] += issuance.face_value
        assert {name: wh for name, wh in found.items() if wh} == dict(expected)


@pytest.mark.timeout(300 if LONG else 120)
def test_every_watt_hour_is_somewhere_once() -> None:
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=200 if LONG else 15,
            stateful_step_count=30 if LONG else 15,
            deadline=None,
            derandomize=not LONG,
            suppress_health_check=list(HealthCheck),
        ),
    )
