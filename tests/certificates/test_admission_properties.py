"""I5 and I8 by random trial: chains of transactions keep every certificate, and no mutation slips through."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from certificates import ranges, successor
from certificates.admission import Verdict
from certificates.bundle import MUTABLE
from certificates.lifecycle import Status
from certificates.ranges import Range
from certificates.token import Token

ISSUED = Range(1, 60)


@dataclass
class Topic:
    """What a topic and its index hold of one issuance."""

    maker: Any
    coins: list[Token]
    lost: list[Range] = field(default_factory=list)

    def submit(self, spent: list[Token], made: list[Token]) -> Verdict:
        verdict: Verdict = self.maker.judge(made, spent)
        self.coins = [coin for coin in self.coins if coin not in spent]
        self.coins += [made[index] for index in verdict.outputs_to_admit]
        removed = [coin for index, coin in enumerate(spent) if index not in verdict.coins_to_retain]
        self.lost += [coin.bundle.range for coin in removed]
        return verdict

    def of(self, *statuses: Status) -> list[Token]:
        return [coin for coin in self.coins if coin.bundle.status in statuses]

    def check(self) -> None:
        """I5: live, cancelled, claimed, withdrawn and lost ranges partition what was issued."""
        kept = [coin.bundle.range for coin in self.coins] + self.lost
        assert ranges.partitions(kept, [ISSUED])
        assert all(coin.bundle.quantity == coin.bundle.range.quantity for coin in self.coins)
        assert len({coin.signed_text for coin in self.coins}) <= 1


LEAVING = {"chain": "solana", "address": "Addr"}


def split(topic: Topic, coin: Token, dice: random.Random) -> list[Token]:
    size = dice.randint(0, coin.bundle.quantity)
    sizes = [part for part in (size, coin.bundle.quantity - size) if part]
    return successor.split(coin, sizes, [topic.maker.key(dice.randint(0, 5)) for _ in sizes])


def act(topic: Topic, dice: random.Random) -> None:
    """One transaction of a holder or the bridge, by the rules; nothing may be lost."""
    coin = dice.choice(topic.coins)
    maker, key = topic.maker, topic.maker.key(dice.randint(0, 5))
    spent, made = [coin], [successor.transfer(coin, key)]
    match coin.bundle.status:
        case Status.ACTIVE:
            spent = dice.sample(topic.of(Status.ACTIVE), dice.randint(1, len(topic.of(Status.ACTIVE))))
            merged = ranges.merge(one.bundle.range for one in spent)
            made = [part for each in merged for part in split(topic, ranged(coin, each), dice)]
            made = [move(maker, part, key, dice) for part in made]
        case Status.RESERVED:
            made = [dice.choice([successor.release(coin, key), successor.cancel(coin, "Town", key)])]
        case Status.LOCKED:
            made = [dice.choice([successor.refund(coin, key), successor.complete(coin, "5igs", key)])]
        case Status.CANCELLED:
            made = [successor.claim(coin, key)]
        case _:
            return
    dice.shuffle(made)
    verdict = topic.submit(spent, made)
    assert verdict.refusals == ()


def ranged(coin: Token, part: Range) -> Token:
    return successor.succeed(coin, coin.locking_key, part=part)


def move(maker: Any, part: Token, key: bytes, dice: random.Random) -> Token:
    return dice.choice(
        [
            part,
            part,
            successor.reserve(part, key),
            successor.cancel(part, "Town", key),
            successor.lock(part, maker.bridge.public, LEAVING),
        ]
    )


def spoil(topic: Topic, dice: random.Random) -> None:
    """One transaction that breaks the rules in one way: its coins are lost, and nothing is admitted."""
    coin = dice.choice(topic.coins)
    whole, key = coin.bundle.range, topic.maker.key(7)
    ways: list[list[Token]] = [
        [],
        [coin, coin],
        [ranged(coin, Range(whole.start, whole.end + 1))],
        [replace(coin, bundle=coin.bundle.changed(device_name="Elsewhere"))],
        [replace(coin, bundle=coin.bundle.changed(bundle_quantity=coin.bundle.quantity + 1))],
        [successor.succeed(coin, key, status=Status.EXPIRED)],
    ]
    verdict = topic.submit([coin], dice.choice(ways))
    assert verdict.outputs_to_admit == ()
    assert len(verdict.refusals) == 1


@settings(max_examples=60, deadline=None)
@given(st.randoms(use_true_random=False), st.lists(st.sampled_from("aaaas"), max_size=14))
def test_chains_keep_every_certificate(maker: Any, dice: random.Random, steps: list[str]) -> None:
    topic = Topic(maker, [maker.token(ISSUED)])
    for step in steps:
        if topic.coins:
            (spoil if step == "s" else act)(topic, dice)
        topic.check()


values = st.none() | st.booleans() | st.integers(0, 10**6) | st.text(max_size=6) | st.floats(0, 1)
TEXTS = ("device_name", "issuing_body", "issue_market_zone", "device_type", "energy_carrier", "new_attribute")


@settings(deadline=None)
@given(st.sampled_from(TEXTS), st.text(max_size=8), st.booleans())
def test_any_change_of_an_immutable_attribute_breaks_admission(
    maker: Any, name: str, value: str, issuing: bool
) -> None:
    token = maker.token(ISSUED)
    assert name not in MUTABLE
    if token.bundle.attributes.get(name) == value:
        return
    changed = replace(token, bundle=token.bundle.changed(**{name: value}))
    verdict = maker.judge([changed], [] if issuing else [token])
    assert verdict.outputs_to_admit == verdict.coins_to_retain == ()
    assert len(verdict.refusals) == 1


parts = st.lists(
    st.tuples(st.integers(0, 62), st.integers(0, 62)).map(lambda pair: Range(min(pair), max(pair))), max_size=4
)


@settings(deadline=None)
@given(parts, st.integers(1, 59))
def test_only_an_exact_partition_is_admitted(maker: Any, made: list[Range], cut: int) -> None:
    token = maker.token(ISSUED)
    spent = [ranged(token, Range(1, cut)), ranged(token, Range(cut + 1, 60))]
    verdict = maker.judge([ranged(token, each) for each in made], spent)
    exact = sorted(number for each in made for number in range(each.start, each.end + 1)) == list(range(1, 61))
    assert bool(verdict.outputs_to_admit) == exact
    assert verdict.coins_to_retain == ((0, 1) if exact else ())


@settings(max_examples=40, deadline=None)
@given(st.randoms(use_true_random=False))
def test_judgements_are_repeatable_and_independent_of_each_other(maker: Any, dice: random.Random) -> None:
    """I8: any order of judgements, any state of the memory of verified signatures, one verdict each."""
    from topics import keychain

    token = maker.token(ISSUED)
    cases: list[tuple[list[Token], list[Token]]] = [
        ([token], []),
        ([token.with_signature(maker.token().signature)], []),
        ([successor.transfer(token, maker.key(1))], [token]),
        ([successor.cancel(token, "Town", maker.key(1))], [token]),
        ([], [token]),
    ]
    first = [maker.judge(*case) for case in cases]
    for _ in range(3):
        keychain.forget()
        order = dice.sample(range(len(cases)), len(cases))
        assert {index: maker.judge(*cases[index]) for index in order} == dict(enumerate(first))
