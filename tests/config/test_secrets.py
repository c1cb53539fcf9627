"""The node's key and the admin token in their files."""

import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from config.errors import ErrorCode
from config.secrets import SecretUnusable, admin_token, admin_token_path, exposure, node_key_hex, node_key_path
from config.settings import NodeSettings, Settings


def settings_in(folder, **node) -> Settings:
    return Settings(node=NodeSettings(data_dir=folder, **node))


def test_the_key_is_made_once_and_for_its_owner_only(tmp_path):
    settings = settings_in(tmp_path / "new" / "data")
    key = node_key_hex(settings).get_secret_value()
    assert len(key) == 64
    assert node_key_hex(settings).get_secret_value() == key
    assert stat.S_IMODE(node_key_path(settings).stat().st_mode) == 0o600
    assert [path.name for path in node_key_path(settings).parent.iterdir()] == ["node.key"]


def test_the_token_is_made_once_and_is_not_shown(tmp_path):
    settings = settings_in(tmp_path)
    token = admin_token(settings)
    assert len(token.get_secret_value()) >= 40
    assert admin_token(settings) == token
    assert token.get_secret_value() not in repr(token)
    assert stat.S_IMODE(admin_token_path(settings).stat().st_mode) == 0o600


def test_a_token_that_is_set_needs_no_file(tmp_path):
    assert admin_token(settings_in(tmp_path, admin_token="t")).get_secret_value() == "t"
    assert list(tmp_path.iterdir()) == []


def test_many_that_start_at_once_agree_on_one_key(tmp_path):
    settings = settings_in(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        keys = {key.get_secret_value() for key in pool.map(lambda _: node_key_hex(settings), range(32))}
    assert len(keys) == 1


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_key_open_to_others_is_refused(tmp_path, mode):
    settings = settings_in(tmp_path)
    node_key_hex(settings)
    node_key_path(settings).chmod(mode)
    with pytest.raises(SecretUnusable, match="chmod 600") as raised:
        node_key_hex(settings)
    assert raised.value.code is ErrorCode.SETTINGS_INVALID
    assert exposure(node_key_path(settings))


@pytest.mark.parametrize("content", ["", "zz" * 32, "00" * 31, "é" * 64])
def test_a_malformed_key_is_refused_and_not_shown(tmp_path, content):
    path = tmp_path / "node.key"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(SecretUnusable) as raised:
        node_key_hex(settings_in(tmp_path))
    assert not content or content not in raised.value.message


def test_a_named_key_file_is_never_made(tmp_path):
    path = tmp_path / "elsewhere.key"
    with pytest.raises(SecretUnusable, match="cannot be used"):
        node_key_hex(settings_in(tmp_path, private_key_file=path))
    assert not path.exists()


def test_an_empty_token_file_is_refused(tmp_path):
    path = tmp_path / "admin.token"
    path.touch(mode=0o600)
    with pytest.raises(SecretUnusable, match="empty"):
        admin_token(settings_in(tmp_path))
