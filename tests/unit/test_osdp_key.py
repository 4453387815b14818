"""A door's key file."""

from __future__ import annotations

from pathlib import Path

import pytest

from firmware_bridge.errors import DeviceFault
from firmware_bridge.osdp_codes import SCBK_DEFAULT
from firmware_bridge.osdp_turnstile import generate_key, load_key, save_key


def write(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_key_survives_its_file_and_only_the_owner_reads_it(tmp_path):
    key = generate_key()
    save_key(tmp_path / "door.key", key)
    assert load_key(tmp_path / "door.key") == key
    assert (tmp_path / "door.key").stat().st_mode & 0o777 == 0o600


def test_keys_differ():
    assert len({generate_key() for _ in range(50)}) == 50


def test_an_existing_key_file_is_never_replaced(tmp_path):
    path = tmp_path / "door.key"
    save_key(path, generate_key())
    before = path.read_bytes()
    with pytest.raises(DeviceFault, match="exists"):
        save_key(path, generate_key())
    assert path.read_bytes() == before


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666, 0o620])
def test_a_key_open_to_others_is_refused(tmp_path, mode):
    path = write(tmp_path / "door.key", generate_key().hex(), mode)
    with pytest.raises(DeviceFault, match="open to other users") as caught:
        load_key(path)
    assert "chmod 600" in caught.value.diagnostics()


@pytest.mark.parametrize("text", ["", "00", "zz" * 16, "ab" * 17, "ab" * 16 + " more", "\x00" * 32])
def test_a_malformed_key_is_refused_and_not_shown(tmp_path, text):
    path = write(tmp_path / "door.key", text)
    with pytest.raises(DeviceFault, match="32 hexadecimal digits") as caught:
        load_key(path)
    assert text == "" or text not in caught.value.diagnostics()


@pytest.mark.parametrize("key", [SCBK_DEFAULT, bytes(16)])
def test_a_public_key_is_refused(tmp_path, key):
    path = write(tmp_path / "door.key", key.hex())
    with pytest.raises(DeviceFault) as caught:
        load_key(path)
    assert key.hex() not in caught.value.diagnostics()
    with pytest.raises(ValueError, match="key"):
        save_key(tmp_path / "other.key", key)


def test_an_absent_key_file_says_so(tmp_path):
    with pytest.raises(DeviceFault, match="absent"):
        load_key(tmp_path / "nothing")


def test_a_folder_is_no_key_file(tmp_path):
    with pytest.raises(DeviceFault):
        load_key(tmp_path)
