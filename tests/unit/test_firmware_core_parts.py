"""The firmware's parts one by one: AES, frames, key page, count of starts."""

from __future__ import annotations

import os
import shutil
import stat

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import example, given, settings
from hypothesis import strategies as st

from firmware_bridge.errors import DeviceFault
from firmware_bridge.firmware.host_core import HostController, HostCore, build
from firmware_bridge.firmware.key_page import FLASH_ADDRESS, PAGE_LENGTH, key_page, main
from firmware_bridge.osdp_codes import SCBK_DEFAULT
from firmware_bridge.osdp_frame import MAC_LENGTH, FrameDecoder, encode
from firmware_bridge.osdp_key import save_key

pytestmark = pytest.mark.skipif(
    shutil.which("gcc") is None or shutil.which("make") is None,
    reason="needs the Debian packages gcc, libc6-dev and make",
)
BLOCK = st.binary(min_size=16, max_size=16)
KEY = bytes.fromhex("00112233445566778899aabbccddeeff")
QUIET = 0b111100


@pytest.fixture(scope="module")
def core(tmp_path_factory) -> HostCore:
    folder = build("library", tmp_path_factory.mktemp("firmware"))
    return HostCore(folder / "libcontroller.so")


# --- AES --------------------------------------------------------------------------------------

NIST = [
    # FIPS 197, appendix B and C.1
    (
        "2b7e151628aed2a6abf7158809cf4f3c",
        "3243f6a8885a308d313198a2e0370734",
        "3925841d02dc09fbdc118597196a0b32",
    ),
    (
        "000102030405060708090a0b0c0d0e0f",
        "00112233445566778899aabbccddeeff",
        "69c4e0d86a7b0430d8cdb78070b4c55a",
    ),
    # SP 800-38A, F.1.1
    (
        "2b7e151628aed2a6abf7158809cf4f3c",
        "6bc1bee22e409f96e93d7e117393172a",
        "3ad77bb40d7a3660a89ecaf32466ef97",
    ),
    (
        "2b7e151628aed2a6abf7158809cf4f3c",
        "ae2d8a571e03ac9c9eb76fac45af8e51",
        "f5d3d58503b9699de785895a96fdbaaf",
    ),
]


@pytest.mark.parametrize(("key", "clear", "cipher"), NIST)
def test_aes_meets_the_published_vectors(core, key, clear, cipher):
    key, clear, cipher = (bytes.fromhex(text) for text in (key, clear, cipher))
    assert core.aes(key, clear) == cipher
    assert core.aes(key, cipher, decrypt=True) == clear


@given(BLOCK, BLOCK)
@settings(deadline=None)
def test_aes_equals_an_independent_one(core, key, block):
    peer = Cipher(algorithms.AES128(key), modes.ECB()).encryptor()
    cipher = core.aes(key, block)
    assert cipher == peer.update(block) + peer.finalize()
    assert core.aes(key, cipher, decrypt=True) == block


def test_every_byte_goes_through_both_boxes(core):
    for value in range(256):
        block = bytes([value]) * 16
        assert core.aes(KEY, core.aes(KEY, block), decrypt=True) == block


# --- frames: two parsers, written apart, must agree on every stream ------------------------------


def a_frame(mac: bool) -> st.SearchStrategy[bytes]:
    security = st.sampled_from([b"\x15", b"\x17", b"\x16\x01"]) if mac else st.binary(max_size=3)
    return st.builds(
        lambda address, sqn, code, data, reply, block: encode(
            address,
            sqn,
            code,
            data,
            is_reply=reply,
            security=b"" if not mac and block[:1] and 0x15 <= block[0] <= 0x18 else block,
            mac=(lambda _: b"\x01\x02\x03\x04") if mac else None,
        ),
        st.integers(0, 127),
        st.integers(0, 3),
        st.integers(0, 255),
        st.binary(max_size=200),
        st.booleans(),
        security,
    )


PIECES = st.one_of(
    a_frame(mac=True),
    a_frame(mac=False),
    st.binary(max_size=40),
    st.just(b"\x53"),
    st.builds(lambda n: bytes([0x53, 0, n % 256, n // 256, 4]), st.integers(0, 300)),
    st.builds(lambda frame, at: frame[:at], a_frame(mac=True), st.integers(0, 30)),
)


@given(st.lists(PIECES, max_size=8).map(b"".join))
@example(b"\x53" * 300)
@example(b"\x53\x00\x00\x01\x04" * 80)
@settings(deadline=None, max_examples=200)
def test_both_parsers_find_the_same_frames(core, stream):
    expected = FrameDecoder().feed(stream)
    found = core.frames(stream)
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.raw[: ours.covered] == theirs.covered
        assert (ours.address, ours.is_reply, ours.sqn, ours.code) == (
            theirs.address,
            theirs.is_reply,
            theirs.sqn,
            theirs.code,
        )
        assert ours.security_length == len(theirs.security)
        assert ours.data_length == len(theirs.data)
        assert ours.has_mac == (len(theirs.mac) == MAC_LENGTH)


# --- key page -----------------------------------------------------------------------------------


def is_usable(core: HostCore, page: bytes) -> bool:
    return HostController(core, page, boots=1, sample=QUIET).has_key


def test_a_key_page_is_read(core):
    page = key_page(KEY, address=126, baud=9600, serial=0xFFFFFFFF)
    assert len(page) == PAGE_LENGTH
    assert is_usable(core, page)


@given(st.integers(0, 47), st.integers(1, 255))
@settings(deadline=None)
def test_a_damaged_key_page_is_refused(core, at, flip):
    page = bytearray(key_page(KEY, random_bytes=lambda n: bytes(range(n))))
    page[at] ^= flip
    assert not is_usable(core, bytes(page))


@pytest.mark.parametrize("page", [b"\xff" * 1024, bytes(1024)])
def test_an_empty_key_page_is_refused(core, page):
    assert not is_usable(core, page)


@pytest.mark.parametrize("public", [SCBK_DEFAULT, bytes(16), b"\xff" * 16])
def test_public_keys_are_refused_on_both_sides(core, public):
    with pytest.raises(ValueError, match="key"):
        key_page(public)
    with pytest.raises(ValueError, match="key"):
        key_page(KEY, random_bytes=lambda _: public)
    body = bytearray(key_page(KEY)[:44])
    body[12:28] = public
    assert not is_usable(core, sealed(body))
    body[12:28] = KEY
    assert is_usable(core, sealed(body))
    body[28:44] = KEY  # the nonces' secret is not the door's key
    assert not is_usable(core, sealed(body))


@pytest.mark.parametrize(("at", "value"), [(4, 2), (5, 127), (5, 255), (6, 2), (7, 1)])
def test_a_key_page_out_of_range_is_refused(core, at, value):
    body = bytearray(key_page(KEY)[:44])
    body[at] = value
    assert not is_usable(core, sealed(body))


def sealed(body: bytearray) -> bytes:
    from firmware_bridge.osdp_frame import crc16

    crc = crc16(bytes(body)).to_bytes(2, "little")
    return bytes(body) + crc + bytes(0xFF ^ byte for byte in crc)


@pytest.mark.parametrize(
    "wrong", [{"address": 127}, {"address": -1}, {"baud": 19200}, {"serial": 1 << 32}]
)
def test_a_key_page_cannot_be_made_out_of_range(wrong):
    with pytest.raises(ValueError):
        key_page(KEY, **wrong)


def test_the_installers_command_makes_a_page(core, tmp_path, capsys):
    save_key(tmp_path / "door.key", KEY)
    out = tmp_path / "door.page"
    arguments = ["--key-file", str(tmp_path / "door.key"), "--out", str(out), "--address", "3"]
    assert main(arguments) == 0
    said = capsys.readouterr()
    assert hex(FLASH_ADDRESS) in said.out
    assert KEY.hex() not in said.out + said.err
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert is_usable(core, out.read_bytes())
    assert out.read_bytes()[5] == 3
    assert main(arguments) == 2  # never over an existing page
    assert "move it away" in capsys.readouterr().err
    assert main([*arguments[:3], str(tmp_path / "b"), "--address", "200"]) == 2
    assert main(["--key-file", str(tmp_path / "none"), "--out", str(tmp_path / "c")]) == 2


def test_a_build_that_fails_says_so(tmp_path):
    with pytest.raises(DeviceFault, match="no-such-target"):
        build("no-such-target", tmp_path)


# --- count of starts ----------------------------------------------------------------------------

BLANK = b"\xff" * 12


def test_a_new_chip_starts_at_one(core):
    assert core.next_boot(BLANK + BLANK) == (1, 0)
    assert core.next_boot(bytes(24)) == (1, 0)


@given(st.integers(1, (1 << 32) - 2), st.integers(0, 1))
@settings(deadline=None)
def test_the_count_goes_up_and_the_older_copy_is_overwritten(core, boots, newest):
    records = [core.boot_record(boots), core.boot_record(boots - 1)]
    if newest == 1:
        records.reverse()
    assert core.next_boot(b"".join(records)) == (boots + 1, 1 - newest)


@given(st.integers(1, 1000), st.binary(min_size=12, max_size=12), st.integers(0, 1))
@settings(deadline=None)
def test_power_lost_during_a_write_costs_one_copy(core, boots, torn, which):
    good = core.boot_record(boots)
    records = [good, torn] if which else [torn, good]
    assert core.next_boot(b"".join(records)) == (boots + 1, which)


@given(st.binary(min_size=24, max_size=24).filter(lambda b: b != bytes(24)))
@settings(deadline=None)
def test_a_foreign_chip_is_not_trusted(core, content):
    assert core.next_boot(content) is None


def test_a_count_that_is_used_up_is_not_trusted(core):
    last = core.boot_record((1 << 32) - 1)
    assert core.next_boot(last + BLANK) is None


def test_starts_in_a_row_never_count_twice(core):
    records = [BLANK, BLANK]
    seen = []
    for _ in range(50):
        boots, copy = core.next_boot(b"".join(records))
        records[copy] = core.boot_record(boots)
        seen.append(boots)
        if len(seen) % 7 == 0:
            records[copy] = os.urandom(12)  # this write was torn
            seen.pop()
    assert seen == sorted(set(seen))
