"""The reference holder: a phone's side of ISO/IEC 18013-5, in software.

It asks who wants to know before it answers, gives only what was asked, and signs every answer for
this one session. The APDU side is firmware_bridge.sim.card.SimCard.
"""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gate.card import cbor, cose, engagement, mdoc, session
from gate.card.cbor import EncodedCbor, MalformedCbor
from gate.card.cose import Mac0, Sign1
from gate.card.engagement import NfcLimits
from gate.card.mdoc import DeviceSigned, Document, IssuerSigned, MobileSecurityObject
from gate.card.request import ItemsRequest, parse_device_request, reader_authentication
from gate.card.response import device_authentication
from gate.card.session import Cipher, Transcript
from gate.card.trust import CERTIFICATE_FAULTS, check_reader, load_certificate, p256_key
from gate.errors import ConfigError, ProtocolViolation
from gate.whole_file import PRIVATE, write_whole

_FILE_VERSION: Final = 1
_LIMITS: Final = NfcLimits(command_bytes=0xFFFF, response_bytes=0xFFFF)
_FILE_FIELDS: Final = {"version", "device_key", "issuer_signed", "reader_roots"}
_FILE_MAX_BYTES: Final = 2 * cbor.MAX_BYTES
_EMPTY_NAME_SPACES: Final = EncodedCbor.wrap(b"\xa0")


class HolderRefusal(Enum):
    """Why the holder gave nothing."""

    NO_READER_AUTH = "no_reader_auth"
    UNTRUSTED_READER = "untrusted_reader"
    """Certificate not of the reader authority, outdated, or for another usage."""
    READER_SIGNATURE = "reader_signature"
    OTHER_DOCUMENT = "other_document"
    """Asks for a docType or namespace that is not on this card."""
    WANTS_TO_RETAIN = "wants_to_retain"


class Wallet:
    """One card on one phone. A firmware_bridge.sim.card.CardApplication.

    Args:
        device_key: P-256 key that the issuer bound the card to.
        issuer_signed: IssuerSigned bytes from the issuer.
        reader_roots: authorities whose readers get an answer.
        clock: the phone's own, timezone-aware.
        random_bytes: cryptographically strong.
        use_mac: prove the device key by MAC instead of signature.

    Raises:
        ConfigError: the issuer's bytes are malformed.
    """

    def __init__(
        self,
        device_key: ec.EllipticCurvePrivateKey,
        issuer_signed: bytes,
        reader_roots: Sequence[x509.Certificate],
        clock: Callable[[], datetime],
        random_bytes: Callable[[int], bytes],
        *,
        use_mac: bool = False,
    ) -> None:
        try:
            self._issuer_signed = IssuerSigned.parse(cbor.load(issuer_signed))
            payload = self._issuer_signed.issuer_auth.payload
            self._mso = MobileSecurityObject.parse(cbor.need(payload, bytes))
        except MalformedCbor as error:
            raise ConfigError(f"the card's data is malformed: {error}", "issue it again") from None
        self._device_key = device_key
        self._issuer_signed_bytes = issuer_signed
        self._reader_roots = tuple(reader_roots)
        self._clock = clock
        self._random_bytes = random_bytes
        self._use_mac = use_mac
        self._e_device_key: ec.EllipticCurvePrivateKey | None = None
        self._select = b""
        self.last_refusal: HolderRefusal | None = None
        """Why the newest request got no data, or None when it got some."""

    @property
    def doc_type(self) -> str:
        """What kind of card this is."""
        return self._mso.doc_type

    @property
    def mso(self) -> MobileSecurityObject:
        """Dates and status reference of the card."""
        return self._mso

    @property
    def elements(self) -> Mapping[str, object]:
        """The holder's own view of the card's values, by element identifier."""
        items = self._issuer_signed.name_spaces.get(self.doc_type, ())
        return {item.identifier: item.value for item in items}

    def clone_without_key(self) -> Wallet:
        """Return what a copy of the card's data can do: same issuer data, another device key."""
        return Wallet(
            session.new_key(self._random_bytes),
            self._issuer_signed_bytes,
            self._reader_roots,
            self._clock,
            self._random_bytes,
            use_mac=self._use_mac,
        )

    def engage(self) -> bytes:
        """Begin an engagement with a fresh key; return the NDEF Handover Select message."""
        self._e_device_key = session.new_key(self._random_bytes)
        content = engagement.encode_device_engagement(self._e_device_key.public_key())
        self._select = engagement.encode_handover_select(content, _LIMITS)
        return self._select

    def handle(self, message: bytes) -> bytes:
        """Answer SessionEstablishment with SessionData; every other message ends the session.

        One request an engagement: the ephemeral key is gone after it.
        """
        e_device_key, self._e_device_key = self._e_device_key, None
        if e_device_key is None:
            return session.encode_data(None, session.STATUS_TERMINATION)
        try:
            e_reader_key_bytes, ciphertext = session.decode_establishment(message)
            e_reader_key = cose.decode_key(e_reader_key_bytes.load())
        except MalformedCbor:
            return session.encode_data(None, session.STATUS_DECODING_ERROR)
        content = engagement.encode_device_engagement(e_device_key.public_key())
        transcript = Transcript.of(
            EncodedCbor.wrap(content), e_reader_key_bytes, engagement.handover_bytes(self._select)
        )
        cipher = Cipher.for_device(e_device_key, e_reader_key, transcript)
        try:
            request = cipher.open(ciphertext)
        except ProtocolViolation:
            return session.encode_data(None, session.STATUS_ENCRYPTION_ERROR)
        try:
            document = self._answer(request, transcript, e_reader_key)
        except MalformedCbor:
            return session.encode_data(None, session.STATUS_DECODING_ERROR)
        response = mdoc.encode_device_response(document)
        return session.encode_data(cipher.seal(response), session.STATUS_TERMINATION)

    def save(self, path: Path) -> None:
        """Write the wallet to a file only its owner can read (0600), all or nothing."""
        content = cbor.encode(
            {
                "version": _FILE_VERSION,
                "device_key": self._device_key.private_bytes(
                    serialization.Encoding.DER,
                    serialization.PrivateFormat.PKCS8,
                    serialization.NoEncryption(),
                ),
                "issuer_signed": self._issuer_signed_bytes,
                "reader_roots": [
                    root.public_bytes(serialization.Encoding.DER) for root in self._reader_roots
                ],
            }
        )
        write_whole(path, content, PRIVATE)

    @classmethod
    def load(
        cls, path: Path, clock: Callable[[], datetime], random_bytes: Callable[[int], bytes]
    ) -> Wallet:
        """Read what `save` wrote.

        Raises:
            ConfigError: missing, not a card, readable by others, or malformed.
        """
        content, mode = _read_card_file(path)
        if mode & 0o077:
            raise ConfigError(
                f"wallet {path} is open to others", f"run: chmod 600 {shlex.quote(str(path))}"
            )
        try:
            if cbor.field(content, "version", int) != _FILE_VERSION:
                raise MalformedCbor("wallet file is of another version")
            key = serialization.load_der_private_key(
                cbor.field(content, "device_key", bytes), password=None
            )
            roots = [
                x509.load_der_x509_certificate(cbor.need(root, bytes))
                for root in cbor.field(content, "reader_roots", list)
            ]
            issuer_signed = cbor.field(content, "issuer_signed", bytes)
        except (MalformedCbor, *CERTIFICATE_FAULTS) as error:
            raise ConfigError(
                f"wallet {path} cannot be loaded ({type(error).__name__})", "enrol again"
            ) from None
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ConfigError(f"wallet {path} holds no P-256 key", "enrol again")
        return cls(key, issuer_signed, roots, clock, random_bytes)

    def _answer(
        self,
        content: bytes,
        transcript: Transcript,
        e_reader_key: ec.EllipticCurvePublicKey,
    ) -> Document | None:
        """Return the document for this request, or None after noting why not."""
        encoded, request, auth = parse_device_request(content)
        self.last_refusal = self._check_request(encoded, request, auth, transcript)
        if self.last_refusal is not None:
            return None
        wanted = request.elements.get(self.doc_type, ())
        items = tuple(
            item
            for item in self._issuer_signed.name_spaces.get(self.doc_type, ())
            if item.identifier in wanted
        )
        issuer_signed = IssuerSigned({self.doc_type: items}, self._issuer_signed.issuer_auth)
        return Document(self.doc_type, issuer_signed, self._prove(transcript, e_reader_key))

    def _check_request(
        self,
        encoded: EncodedCbor,
        request: ItemsRequest,
        auth: Sign1 | None,
        transcript: Transcript,
    ) -> HolderRefusal | None:
        if auth is None:
            return HolderRefusal.NO_READER_AUTH
        certificate = load_certificate(cose.x5chain(auth))
        if certificate is None or not check_reader(certificate, self._reader_roots, self._clock()):
            return HolderRefusal.UNTRUSTED_READER
        signed = reader_authentication(transcript, encoded)
        if not auth.is_signed_by(p256_key(certificate), detached_payload=signed):
            return HolderRefusal.READER_SIGNATURE
        if request.doc_type != self.doc_type or request.elements.keys() != {self.doc_type}:
            return HolderRefusal.OTHER_DOCUMENT
        return HolderRefusal.WANTS_TO_RETAIN if request.retains else None

    def _prove(
        self, transcript: Transcript, e_reader_key: ec.EllipticCurvePublicKey
    ) -> DeviceSigned:
        """Show that this phone holds the device key, in this session only."""
        to_sign = device_authentication(transcript, self.doc_type, _EMPTY_NAME_SPACES)
        if self._use_mac:
            key = session.mac_key(self._device_key, e_reader_key, transcript)
            return DeviceSigned(_EMPTY_NAME_SPACES, None, Mac0.create(key, to_sign))
        signature = Sign1.create(self._device_key, to_sign, detached=True)
        return DeviceSigned(_EMPTY_NAME_SPACES, signature, None)


def _read_card_file(path: Path) -> tuple[dict[object, object], int]:
    """Return what a card file says and its mode, once it is known to be a card file at all."""
    try:
        # Non-blocking, because opening a pipe waits for somebody to write into it.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            mode = os.fstat(descriptor).st_mode
            raw = file.read(_FILE_MAX_BYTES + 1) if stat.S_ISREG(mode) else b""
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such card file", "check --card") from None
    except IsADirectoryError:
        raise ConfigError(f"{path} is not a card file", "check --card") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror})", "check --card") from None
    try:
        content = cbor.need(cbor.load(raw, max_bytes=_FILE_MAX_BYTES), dict)
    except MalformedCbor:
        content = {}
    if content.keys() != _FILE_FIELDS:
        raise ConfigError(f"{path} is not a card file, or is damaged", "check --card")
    return content, mode
