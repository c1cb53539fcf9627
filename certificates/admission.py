"""What a certificate topic admits: the six rules of the token's specification, as one pure function (I8).

Rules are per issuance. Of each issuance that a transaction touches, either every part is admitted and every
spent coin retained as history, or no part is admitted and the spent coins leave the topic: the range is
lost, and the verdict says why. One issuance cannot spoil another.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from certificates.errors import TokenMalformed
from certificates.legacy import LegacyToken
from certificates.policy import EVERYTHING, Policy, Scope
from certificates.ranges import merge, partitions, subtract
from certificates.rules import (
    Keys,
    against_issuance,
    against_quantity,
    against_state,
    against_step,
    provenance,
    signature_holds,
)
from certificates.token import TOKEN_SATOSHIS, Content, Token, decode_fields, issuance_id_for
from certificates.withdrawal import Withdrawal


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A PushDrop that is not a certificate token, and why."""

    reason: str


Read: TypeAlias = Content | Unreadable


def read_fields(locking_key: bytes, fields: Sequence[bytes]) -> Read:
    """`decode_fields` with its error as a value."""
    try:
        return decode_fields(locking_key, fields)
    except TokenMalformed as error:
        return Unreadable(error.message)


@dataclass(frozen=True, slots=True)
class Placed:
    """A token at an output index (outputs) or at an input index (spent coins)."""

    index: int
    satoshis: int
    content: Read


@dataclass(frozen=True, slots=True)
class View:
    """What is judged: the outpoint that input 0 spends (36 bytes as on the wire), the PushDrop outputs,
    and the coins of this topic that the transaction spends. Other outputs are left out."""

    outpoint: bytes
    outputs: Sequence[Placed]
    coins: Sequence[Placed] = ()


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why part of a transaction was not admitted: the issuance (None when it has none that can be read),
    its output indices, the input indices of its coins (now lost), and a sentence."""

    issuance_id: str | None
    outputs: tuple[int, ...]
    reason: str
    coins: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """Ascending output indices to admit, input indices to retain, and what was refused. `waits_for_coins`
    when a refused output is a trusted issuer's certificate whose spent coin this topic does not hold, or when
    the parts of a spent certificate hold more of its issuance than was spent."""

    outputs_to_admit: tuple[int, ...] = ()
    coins_to_retain: tuple[int, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    waits_for_coins: bool = False


@dataclass(slots=True)
class _Issuance:
    """The parts of one issuance that a transaction spends and makes."""

    coins: list[tuple[Placed, Token]] = field(default_factory=list)
    outputs: list[tuple[Placed, Token]] = field(default_factory=list)


def judge(view: View, policy: Policy, keys: Keys, scope: Scope = EVERYTHING) -> Verdict:
    """The verdict of a topic with that scope; it depends on nothing but its arguments."""
    judgement = Judgement(view, policy, keys, scope)
    for _ in judgement.steps():
        pass
    return judgement.verdict()


class Judgement:
    """A judgement that can be made step by step, for callers with other work to do in between: run through
    `steps` once, then take the `verdict`. A step judges one output or one issuance."""

    def __init__(self, view: View, policy: Policy, keys: Keys, scope: Scope) -> None:
        self._view, self._policy, self._keys, self._scope = view, policy, keys, scope
        self._admitted: list[int] = []
        self._retained: list[int] = []
        self._refusals: list[Refusal] = []
        self._waits = False

    def steps(self) -> Iterator[None]:
        issuances: dict[str, _Issuance] = {}
        for coin in self._view.coins:
            self._take_coin(coin, issuances)
        for output in self._view.outputs:
            self._take_output(output, issuances)
            yield
        for issuance_id, issuance in issuances.items():
            if issuance.coins:
                self._succeed(issuance_id, issuance)
                yield
            else:
                yield from self._issue(issuance_id, issuance)

    def verdict(self) -> Verdict:
        admitted, retained = tuple(sorted(self._admitted)), tuple(sorted(self._retained))
        return Verdict(admitted, retained, tuple(self._refusals), self._waits)

    def _take_coin(self, coin: Placed, issuances: dict[str, _Issuance]) -> None:
        content = coin.content
        if isinstance(content, Token):
            issuances.setdefault(content.issuance_id, _Issuance()).coins.append((coin, content))
        elif isinstance(content, Withdrawal):
            self._retained.append(coin.index)  # a notice is a publication: spending it does not unsay it

    def _take_output(self, output: Placed, issuances: dict[str, _Issuance]) -> None:
        content = output.content
        if isinstance(content, Token):
            if self._scope.includes(content.bundle):
                issuances.setdefault(content.issuance_id, _Issuance()).outputs.append((output, content))
        elif isinstance(content, Withdrawal):
            self._decide(output, content.issuance_id, self._against_notice(output, content))
        elif isinstance(content, LegacyToken):
            self._decide(output, content.issuance_id, self._against_legacy(content))
        else:
            self._decide(output, None, content.reason)

    def _decide(self, output: Placed, issuance_id: str | None, reason: str | None) -> None:
        if reason is None:
            self._admitted.append(output.index)
        else:
            self._refusals.append(Refusal(issuance_id, (output.index,), reason))

    def _issue(self, issuance_id: str, issuance: _Issuance) -> Iterator[None]:
        """Rule 1. An id belongs to one output, so each output stands for itself."""
        for output, token in issuance.outputs:
            reason = _against_value(output) or against_issuance(
                token, self._view.outpoint, output.index, self._policy, self._keys
            )
            self._decide(output, issuance_id, reason)
            self._waits = self._waits or (reason is not None and self._is_orphan(output, token))
            yield

    def _is_orphan(self, output: Placed, token: Token) -> bool:
        """Whether this may be the successor of a coin that has not come yet."""
        if issuance_id_for(self._view.outpoint, output.index) == token.issuance_id:
            return False
        trusted = self._policy.trusts(token.issuer_key, token.bundle.country)
        return trusted and signature_holds(token, self._keys)

    def _succeed(self, issuance_id: str, issuance: _Issuance) -> None:
        """Rules 2, 3, 5 and 6: all successors, or none."""
        outputs = tuple(output.index for output, _ in issuance.outputs)
        coins = tuple(coin.index for coin, _ in issuance.coins)
        reason = self._against_succession(issuance)
        if reason is None:
            self._admitted.extend(outputs)
            self._retained.extend(coins)
        else:
            self._refusals.append(Refusal(issuance_id, outputs, reason, coins))
            self._waits = self._waits or _lacks_coins(issuance)

    def _against_succession(self, issuance: _Issuance) -> str | None:
        spent = [token for _, token in issuance.coins]
        made = [token for _, token in issuance.outputs]
        return (
            _first(_against_value(output) for output, _ in issuance.outputs)
            or _against_provenance(spent, made)
            or _first(against_quantity(token.bundle) for token in made)
            or _against_partition(spent, made)
            or _first(against_state(token, self._policy, self._keys) for token in made)
            or _against_steps(spent, made)
        )

    def _against_notice(self, output: Placed, notice: Withdrawal) -> str | None:
        """Rule 4. The notice names no country, so a topic of a region asks for trust there, and any other
        for trust anywhere; the index applies it to what the same issuer issued."""
        reason = _against_value(output)
        if reason is None and not self._policy.trusts(notice.issuer_key, self._scope.region):
            reason = f"the issuer {notice.issuer_key.hex()} is not trusted"
        if reason is None and not self._keys.issuer_signed(
            notice.issuer_key, notice.signed_text, notice.signature, notice.issuance_id
        ):
            reason = "the issuer's signature on the withdrawal notice does not verify"
        return reason

    def _against_legacy(self, token: LegacyToken) -> str | None:
        if not (self._policy.accept_unissued and self._scope.is_everything):
            return "a certificate without issuer is not accepted by this topic"
        if not self._keys.maker_signed(token.locking_key, token.signed_text, token.signature):
            return "the maker's signature does not verify under the locking key"
        return None


def _first(reasons: Iterable[str | None]) -> str | None:
    return next((reason for reason in reasons if reason is not None), None)


def _against_value(output: Placed) -> str | None:
    if output.satoshis != TOKEN_SATOSHIS:
        return f"output {output.index} has {output.satoshis} satoshis; a certificate token has exactly 1"
    return None


def _lacks_coins(issuance: _Issuance) -> bool:
    """Whether parts hold more of the same issuance than is spent here: a merge, some of whose coins may not
    have come yet."""
    spent, made = [token for _, token in issuance.coins], [token for _, token in issuance.outputs]
    if _against_provenance(spent, made) is not None:
        return False
    return bool(subtract((token.bundle.range for token in made), (token.bundle.range for token in spent)))


def _against_provenance(spent: Sequence[Token], made: Sequence[Token]) -> str | None:
    text, issuer, signature = provenance(spent[0])
    for token in (*spent, *made):
        if token.issuer_key != issuer or token.signature != signature:
            return "a part has another issuer or another issuer's signature than the spent certificate"
        if token.signed_text != text:
            return "an immutable attribute, the issued range or the origin was changed"
    return None


def _against_partition(spent: Sequence[Token], made: Sequence[Token]) -> str | None:
    """I5: every certificate that is spent is in exactly one successor, and none is added."""
    before, after = [token.bundle.range for token in spent], [token.bundle.range for token in made]
    if partitions(after, before):
        return None
    had, has = (", ".join(map(str, merge(ranges))) or "nothing" for ranges in (before, after))
    return f"the parts do not divide the spent range exactly: spent {had}, made {has} ({len(after)} parts)"


def _against_steps(spent: Sequence[Token], made: Sequence[Token]) -> str | None:
    """Each part against each coin that it takes from. Both are partitions of one set of ids, so walking
    them in order meets at most as many pairs as there are coins and parts."""
    coins = sorted(spent, key=lambda token: token.bundle.range)
    starts = [token.bundle.range.start for token in coins]
    for part in made:
        position = bisect_right(starts, part.bundle.range.start) - 1
        while position < len(coins) and starts[position] <= part.bundle.range.end:
            reason = against_step(coins[position], part)
            if reason is not None:
                return f"{part.bundle.range}: {reason}"
            position += 1
    return None
