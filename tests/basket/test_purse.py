"""The purse: what is given, to whom, and in which order."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from basket.funds import FundCoin
from basket.purse import Purse, PurseCoin
from overlay.builder import Coin
from overlay.transaction import Output


def coin(number: int, satoshis: int, depth: int = 0, is_light: bool = True) -> PurseCoin:
    fund = FundCoin(Coin(number.to_bytes(32, "big"), 0, Output(satoshis, b"")), "k")
    return PurseCoin(fund, depth, is_light)


@pytest.mark.parametrize(
    ("coins", "wanted", "chosen"),
    [
        pytest.param([(100, 0, True), (50, 0, True)], 40, [1], id="the smallest that will do"),
        pytest.param([(50, 2, True), (100, 0, True)], 40, [1], id="a proven one before a smaller unproven one"),
        pytest.param([(50, 0, False), (100, 0, True)], 40, [1], id="one of a small transaction first"),
        pytest.param([(50, 0, False), (90, 1, True)], 40, [0], id="proven before of a small transaction"),
        pytest.param([(50, 3, True)], 40, [], id="none that stands too deep"),
        pytest.param([(50, 0, True), (60, 0, True), (20, 0, True)], 100, [1, 0], id="several when one will not do"),
        pytest.param([(50, 0, True), (50, 0, True)], 100, [], id="a second one pays for its own input"),
        pytest.param([], 1, [], id="none"),
    ],
)
def test_which_coins_are_given(coins: list[tuple[int, int, bool]], wanted: int, chosen: list[int]) -> None:
    purse = Purse(most_depth=2)
    made = [coin(number, *fields) for number, fields in enumerate(coins)]
    for each in made:
        purse.add(each)
    assert purse.take(wanted) == [made[index] for index in chosen]
    assert purse.taken == len(chosen)


def test_coins_that_are_named_are_given_all_or_none() -> None:
    purse = Purse(most_depth=2)
    made = [coin(number, 100) for number in range(3)]
    for each in made:
        purse.add(each)
    assert purse.take_these([made[1].outpoint]) == [made[1]]
    assert purse.take_these([made[0].outpoint, made[1].outpoint]) == []
    assert purse.take_these([made[0].outpoint, b"\xff" * 36]) == []
    assert purse.taken == 1
    assert purse.take_these([made[2].outpoint, made[0].outpoint]) == [made[2], made[0]]
    assert purse.worth_beyond_inputs(made) == 297


def test_what_is_learned_of_a_taken_coin_leaves_it_taken() -> None:
    purse = Purse(most_depth=2)
    purse.add(coin(1, 100, depth=1))
    (taken,) = purse.take(10)
    purse.add(taken.proven(7, b"block"))
    assert purse.take(10) == []
    purse.release(taken.outpoint)
    (again,) = purse.take(10)
    assert again.depth == 0
    assert again.block == (7, b"block")


class PurseMachine(RuleBasedStateMachine):
    """Coins come, are taken, given back, spent: nobody is given a coin that another has."""

    held = Bundle("held")

    @initialize()
    def begin(self) -> None:
        self.purse = Purse(most_depth=2)
        self.number = 0
        self.model: dict[bytes, PurseCoin] = {}
        self.out: set[bytes] = set()

    @rule(satoshis=st.integers(1, 1000), depth=st.integers(0, 3), is_light=st.booleans())
    def come(self, satoshis: int, depth: int, is_light: bool) -> None:
        self.number += 1
        made = coin(self.number, satoshis, depth, is_light)
        self.model[made.outpoint] = made
        self.purse.add(made)

    @rule(target=held, satoshis=st.integers(1, 2500))
    def take(self, satoshis: int) -> object:
        taken = self.purse.take(satoshis)
        assert not self.out & {each.outpoint for each in taken}
        assert all(each.depth <= 2 for each in taken)
        if not taken:
            usable = [each for each in self.model.values() if each.outpoint not in self.out and each.depth <= 2]
            assert sum(each.satoshis for each in usable) < satoshis + len(usable)
            return multiple()
        assert sum(each.satoshis for each in taken) >= satoshis + len(taken) - 1
        self.out |= {each.outpoint for each in taken}
        return taken

    @rule(taken=consumes(held))
    def give_back(self, taken: list[PurseCoin]) -> None:
        for each in taken:
            self.purse.release(each.outpoint)
            self.out.discard(each.outpoint)

    @rule(taken=consumes(held))
    def spend(self, taken: list[PurseCoin]) -> None:
        for each in taken:
            self.purse.drop(each.outpoint)
            self.out.discard(each.outpoint)
            self.model.pop(each.outpoint, None)

    @rule(data=st.data())
    def prove(self, data: st.DataObject) -> None:
        if self.model:
            known = self.model[data.draw(st.sampled_from(sorted(self.model)))]
            proven = known.proven(1, b"")
            self.model[known.outpoint] = proven
            self.purse.add(proven)

    @invariant()
    def sums_are_kept(self) -> None:
        assert self.purse.satoshis == sum(each.satoshis for each in self.model.values())
        assert len(self.purse) == len(self.model)
        assert self.purse.taken == len(self.out)
        assert {each.outpoint for each in self.purse.free()} == self.model.keys() - self.out


PurseMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestPurse = PurseMachine.TestCase
