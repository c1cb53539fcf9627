"""Keys in solana-keygen's files."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from solders.keypair import Keypair

from bridge.programs.keys import FileSigner
from config.secrets import SecretUnusable


def written(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


async def test_a_key_of_solana_keygen_signs(tmp_path: Path) -> None:
    key = Keypair()
    signer = FileSigner.load(written(tmp_path / "id.json", key.to_json()))
    assert signer.public == key.pubkey()
    assert (await signer.sign(b"message")).verify(key.pubkey(), b"message")
    assert str(bytes(key)[:4]) not in repr(signer)


def test_a_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "solana.json"
    first = FileSigner.load(path, make=True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert FileSigner.load(path, make=True).public == first.public == FileSigner.load(path).public
    assert Keypair.from_json(path.read_text()).pubkey() == first.public


def test_a_missing_key_is_not_made_unasked(tmp_path: Path) -> None:
    with pytest.raises(SecretUnusable, match=r"solana\.json"):
        FileSigner.load(tmp_path / "solana.json")
    assert not (tmp_path / "solana.json").exists()


GOOD = list(bytes(Keypair.from_seed(bytes(32))))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "JSON array"),
        ("{}", "JSON array"),
        ("null", "JSON array"),
        ("not json", "JSON array"),
        ("[" * 100_000, "JSON array"),
        (json.dumps(GOOD[:63]), "JSON array"),
        (json.dumps([*GOOD, 0]), "JSON array"),
        (json.dumps([256, *GOOD[1:]]), "JSON array"),
        (json.dumps([-1, *GOOD[1:]]), "JSON array"),
        (json.dumps([True, *GOOD[1:]]), "JSON array"),
        (json.dumps([0.0, *GOOD[1:]]), "JSON array"),
        (json.dumps([1, *GOOD[1:]]), "public half"),
        (json.dumps([*GOOD[:63], GOOD[63] ^ 1]), "public half"),
    ],
)
def test_a_file_that_holds_no_key_is_refused_without_telling_it(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(SecretUnusable, match=says) as refused:
        FileSigner.load(written(tmp_path / "id.json", text))
    assert refused.value.__suppress_context__ or refused.value.__context__ is None


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SecretUnusable, match="chmod 600"):
        FileSigner.load(written(tmp_path / "id.json", Keypair().to_json(), 0o644))
