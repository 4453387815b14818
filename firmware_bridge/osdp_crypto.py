"""OSDP Secure Channel: session keys, cryptograms, MAC chain, data encryption.

Both sides of the line use this module; which side one is shows in the method names. AES comes
from `cryptography`. Source: SIA OSDP 2.2, annex D; IEC 60839-11-5:2020, annex D.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hmac import compare_digest

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from firmware_bridge.osdp_codes import Scs
from firmware_bridge.osdp_frame import MAC_LENGTH, Frame, encode

KEY_LENGTH = 16
RANDOM_LENGTH = 8
_BLOCK = 16


class NotAuthenticError(ValueError):
    """A frame of the session has no MAC, a wrong one, or does not decrypt."""


def _ecb(key: bytes, blocks: bytes) -> bytes:
    # One block only, as the standard defines; no pattern can show.
    encryptor = Cipher(algorithms.AES128(key), modes.ECB()).encryptor()  # noqa: S305
    return encryptor.update(blocks) + encryptor.finalize()


def _cbc(key: bytes, iv: bytes, blocks: bytes) -> bytes:
    encryptor = Cipher(algorithms.AES128(key), modes.CBC(iv)).encryptor()
    return encryptor.update(blocks) + encryptor.finalize()


def _cbc_open(key: bytes, iv: bytes, blocks: bytes) -> bytes:
    decryptor = Cipher(algorithms.AES128(key), modes.CBC(iv)).decryptor()
    return decryptor.update(blocks) + decryptor.finalize()


def _pad(data: bytes) -> bytes:
    return data + b"\x80" + bytes(-(len(data) + 1) % _BLOCK)


@dataclass(frozen=True, slots=True)
class SessionKeys:
    """The three keys of one session."""

    enc: bytes = field(repr=False)
    mac1: bytes = field(repr=False)
    mac2: bytes = field(repr=False)


def derive_session_keys(scbk: bytes, rnd_a: bytes) -> SessionKeys:
    """Derive the session keys from the door's key and the panel's 8 random bytes."""
    seed = rnd_a[:6] + bytes(8)
    return SessionKeys(
        enc=_ecb(scbk, b"\x01\x82" + seed),
        mac1=_ecb(scbk, b"\x01\x01" + seed),
        mac2=_ecb(scbk, b"\x01\x02" + seed),
    )


def client_cryptogram(keys: SessionKeys, rnd_a: bytes, rnd_b: bytes) -> bytes:
    """Return the device's proof that it holds the key."""
    return _ecb(keys.enc, rnd_a + rnd_b)


def server_cryptogram(keys: SessionKeys, rnd_a: bytes, rnd_b: bytes) -> bytes:
    """Return the panel's proof that it holds the key."""
    return _ecb(keys.enc, rnd_b + rnd_a)


def initial_rmac(keys: SessionKeys, server_proof: bytes) -> bytes:
    """Return R-MAC-I, the first link of the MAC chain."""
    return _ecb(keys.mac2, _ecb(keys.mac1, server_proof))


def compute_mac(keys: SessionKeys, iv: bytes, covered: bytes) -> bytes:
    """Return the full 16-byte MAC: all blocks but the last under S-MAC1, the last under S-MAC2.

    Unlike data, a message that fills its last block gets no padding.
    """
    message = covered if len(covered) % _BLOCK == 0 else _pad(covered)
    if len(message) > _BLOCK:
        iv = _cbc(keys.mac1, iv, message[:-_BLOCK])[-_BLOCK:]
    return _cbc(keys.mac2, iv, message[-_BLOCK:])


class SecureSession:
    """One established session, seen from either side. A failed check changes nothing."""

    def __init__(self, keys: SessionKeys, rmac_i: bytes) -> None:
        self._keys = keys
        self._command_mac = bytes(_BLOCK)
        self._reply_mac = rmac_i

    def __repr__(self) -> str:
        return "SecureSession()"

    def seal_command(self, address: int, sqn: int, code: int, data: bytes = b"") -> bytes:
        """Return a command frame under SCS_15 (no data) or SCS_17 (encrypted data)."""
        scs = Scs.COMMAND_MAC_ENC if data else Scs.COMMAND_MAC

        def mac(covered: bytes) -> bytes:
            self._command_mac = compute_mac(self._keys, self._reply_mac, covered)
            return self._command_mac[:MAC_LENGTH]

        body = self._encrypt(self._reply_mac, data)
        return encode(address, sqn, code, body, security=bytes([scs]), mac=mac)

    def open_reply(self, frame: Frame) -> bytes:
        """Return the clear data of a reply.

        Raises:
            NotAuthenticError: not SCS_16 or SCS_18, or the MAC or padding is wrong.
        """
        if frame.security not in (bytes([Scs.REPLY_MAC]), bytes([Scs.REPLY_MAC_ENC])):
            raise NotAuthenticError("a reply without SCS_16 or SCS_18 inside the session")
        mac = self._check(frame, self._command_mac)
        data = self._open(frame, Scs.REPLY_MAC_ENC, self._command_mac)
        self._reply_mac = mac
        return data

    def seal_reply(self, address: int, sqn: int, code: int, data: bytes = b"") -> bytes:
        """Return a reply frame under SCS_16 (no data) or SCS_18 (encrypted data)."""
        scs = Scs.REPLY_MAC_ENC if data else Scs.REPLY_MAC

        def mac(covered: bytes) -> bytes:
            self._reply_mac = compute_mac(self._keys, self._command_mac, covered)
            return self._reply_mac[:MAC_LENGTH]

        body = self._encrypt(self._command_mac, data)
        return encode(address, sqn, code, body, is_reply=True, security=bytes([scs]), mac=mac)

    def open_command(self, frame: Frame) -> bytes:
        """Return the clear data of a command.

        Raises:
            NotAuthenticError: not SCS_15 or SCS_17, or the MAC or padding is wrong.
        """
        if frame.security not in (bytes([Scs.COMMAND_MAC]), bytes([Scs.COMMAND_MAC_ENC])):
            raise NotAuthenticError("a command without SCS_15 or SCS_17 inside the session")
        mac = self._check(frame, self._reply_mac)
        data = self._open(frame, Scs.COMMAND_MAC_ENC, self._reply_mac)
        self._command_mac = mac
        return data

    def _encrypt(self, other_mac: bytes, data: bytes) -> bytes:
        if not data:
            return b""
        return _cbc(self._keys.enc, bytes(0xFF ^ b for b in other_mac), _pad(data))

    def _check(self, frame: Frame, other_mac: bytes) -> bytes:
        mac = compute_mac(self._keys, other_mac, frame.covered)
        if not compare_digest(mac[:MAC_LENGTH], frame.mac):
            raise NotAuthenticError("the MAC is wrong")
        return mac

    def _open(self, frame: Frame, encrypted: Scs, other_mac: bytes) -> bytes:
        if frame.scs != encrypted:
            return frame.data
        if not frame.data or len(frame.data) % _BLOCK:
            raise NotAuthenticError("encrypted data are not whole blocks")
        clear = _cbc_open(self._keys.enc, bytes(0xFF ^ b for b in other_mac), frame.data)
        data = clear.rstrip(b"\x00")
        # The 0x80 stands in the last block, else the sender added a block for nothing.
        if not data.endswith(b"\x80") or len(clear) - len(data) >= _BLOCK:
            raise NotAuthenticError("the padding is wrong")
        return data[:-1]
