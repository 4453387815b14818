"""Read one card: engagement, session, signed request, all verification steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from firmware_bridge.errors import DeviceFault
from firmware_bridge.ports import ApduChannel
from gate.card import engagement, mdoc, session
from gate.card.cbor import MalformedCbor
from gate.card.nfc import Nfc
from gate.card.request import build_device_request
from gate.card.response import Expectation, standing, verify_response
from gate.card.session import Cipher, Transcript
from gate.card.status_list import StatusList, open_status_list, read_token
from gate.card.trust import (
    CERTIFICATE_FAULTS,
    is_authority,
    is_demo,
    is_reader,
    load_certificate,
    p256_key,
)
from gate.card.verified import CardRefusal, Consent, Refused, VerifiedCard
from gate.errors import ConfigError, ProtocolViolation
from gate.whole_file import read_whole

CERTIFICATES_MAX_BYTES = 1 << 20
"""Of one PEM file; a certificate has about 1 000."""


@dataclass(frozen=True, repr=False)
class ReaderIdentity:
    """Who this gate is to a phone: its signing key and its certificate."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def load(cls, key_path: Path, certificate_path: Path) -> ReaderIdentity:
        """Load both from PEM files.

        Raises:
            ConfigError: a file is missing or not PEM, the key is not on P-256 or not the key of
                this certificate, or the certificate is not a reader's.
        """
        certificate = load_certificates(certificate_path)[0]
        try:
            key = serialization.load_pem_private_key(key_path.read_bytes(), password=None)
        except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise ConfigError(
                f"reader key {key_path} cannot be loaded ({type(error).__name__})",
                "make one with the enrolment tool and name its path in the configuration",
            ) from None
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ConfigError(f"reader key {key_path} is not on P-256", "make a new one")
        if not is_reader(certificate):
            raise ConfigError(
                f"{certificate_path} is no reader's certificate: its extended key usage is wrong",
                "name the certificate that was made for this gate's reader; phones answer no other",
            )
        if key.public_key() != certificate.public_key():
            raise ConfigError(
                f"reader key {key_path} does not belong to {certificate_path}",
                "use the pair that was made together",
            )
        return cls(key, certificate)

    @property
    def is_demo(self) -> bool:
        """Whether a demo site made this identity."""
        return is_demo(self.certificate)


class Trust:
    """Whom this gate believes about cards. Safe to share between threads.

    `status` may be assigned at run time with another status list token; that it is a newer one
    is gate.status_refresh's to see. A token that does not
    verify counts as no list: every card is then refused with STATUS_STALE, never let through.

    Args:
        iaca_roots: certificates of the issuing authorities.
        status_signer: certificate of whoever signs the status list, pinned.
        status: status list token (CWT), or None when none was fetched yet.
        doc_type: docType and namespace of the staff pass.

    Raises:
        ConfigError: no root at all, a root that is no authority, or a key that is not on P-256.
    """

    def __init__(
        self,
        iaca_roots: Sequence[x509.Certificate],
        status_signer: x509.Certificate,
        status: bytes | None = None,
        doc_type: str = mdoc.DEFAULT_DOC_TYPE,
    ) -> None:
        if not iaca_roots:
            raise ConfigError(
                "no issuing authority is trusted", "name at least one IACA certificate"
            )
        if not all(map(is_authority, iaca_roots)):
            raise ConfigError(
                "a trusted issuer certificate is no certificate authority on P-256",
                "name the IACA certificate, not the document signer's",
            )
        if load_certificate(status_signer.public_bytes(serialization.Encoding.DER)) is None:
            raise ConfigError(
                "the status signer's key is not on P-256", "replace it; only ES256 is verified here"
            )
        self.iaca_roots = tuple(iaca_roots)
        self.doc_type = doc_type
        self._signer = status_signer
        self._status = status
        self._opened: tuple[bytes, StatusList | None] | None = None

    @classmethod
    def load(
        cls,
        iaca_path: Path,
        status_signer_path: Path,
        status_path: Path | None = None,
        doc_type: str = mdoc.DEFAULT_DOC_TYPE,
    ) -> Trust:
        """Load PEM certificates (the first file may hold several) and a status list token.

        Raises:
            ConfigError: a file is missing or malformed.
        """
        roots = load_certificates(iaca_path)
        signer = load_certificates(status_signer_path)[0]
        try:
            status = None if status_path is None else read_token(status_path)[0]
        except OSError as error:
            raise ConfigError(
                f"status list {status_path} cannot be read ({error.strerror})",
                "fetch it from the issuer before the gate starts",
            ) from None
        return cls(roots, signer, status, doc_type)

    @property
    def status(self) -> bytes | None:
        """The status list token in use."""
        return self._status

    @status.setter
    def status(self, token: bytes | None) -> None:
        self._status = token

    @property
    def is_demo(self) -> bool:
        """Whether any of the certificates was made by a demo site."""
        return any(map(is_demo, (*self.iaca_roots, self._signer)))

    def status_list(self, now: datetime) -> StatusList | None:
        """Return the verified status list, or None when there is none that verifies.

        The signature is checked once a token; `exp` is checked by the caller at every card.
        """
        token = self._status
        if token is None or not self._signer_is_valid(now):
            return None
        opened = self._opened
        if opened is None or opened[0] is not token:
            opened = self._opened = (token, self.verify_status(token, now))
        return opened[1]

    def verify_status(self, token: bytes, now: datetime) -> StatusList | None:
        """Return the list of a token without taking it into use, or None when it does not verify.

        Its dates are the caller's to judge.
        """
        if not self._signer_is_valid(now):
            return None
        try:
            return open_status_list(token, p256_key(self._signer))
        except MalformedCbor:
            return None

    def _signer_is_valid(self, now: datetime) -> bool:
        return self._signer.not_valid_before_utc <= now <= self._signer.not_valid_after_utc


def read_card(
    channel: ApduChannel,
    reader: ReaderIdentity,
    trust: Trust,
    now: datetime,
    random_bytes: Callable[[int], bytes],
    *,
    elements: Sequence[str] = mdoc.ALL_ELEMENTS,
    extended_length: bool = False,
    on_locked: Callable[[], bool] | None = None,
) -> VerifiedCard | Refused:
    """Read the card in the field and take its answer through all verification steps.

    Never raises for anything a card says or does: torn, truncated, duplicated or trailing bytes,
    and a card that leaves the field, are Refused(UNREADABLE).

    Args:
        channel: the card; owns the deadline of each exchange.
        reader: this gate's identity toward the phone.
        trust: whom to believe.
        now: this gate's clock, timezone-aware.
        random_bytes: cryptographically strong, such as os.urandom.
        elements: what to ask for; the mandatory elements must be among them.
        extended_length: send the request as one extended-length APDU.
        on_locked: see gate.card.nfc.Nfc.
    """
    try:
        return _read(
            Nfc(channel, extended_length=extended_length, on_locked=on_locked),
            reader,
            trust,
            now,
            random_bytes,
            elements,
        )
    except (ProtocolViolation, DeviceFault):
        return Refused(CardRefusal.UNREADABLE)


def card_stands(card: VerifiedCard, trust: Trust, now: datetime) -> Consent | CardRefusal:
    """Ask once more whether a card read before still stands; see gate.card.response.standing."""
    return standing(card, trust.status_list(now), now)


def load_certificates(path: Path) -> list[x509.Certificate]:
    """Load one or more PEM certificates.

    Raises:
        ConfigError: missing file or no PEM certificate in it.
    """
    try:
        return x509.load_pem_x509_certificates(read_whole(path, CERTIFICATES_MAX_BYTES))
    except (OSError, *CERTIFICATE_FAULTS) as error:
        raise ConfigError(
            f"certificate {path} cannot be loaded ({type(error).__name__})",
            "name an existing PEM file in the configuration",
        ) from None


def _read(
    nfc: Nfc,
    reader: ReaderIdentity,
    trust: Trust,
    now: datetime,
    random_bytes: Callable[[int], bytes],
    elements: Sequence[str],
) -> VerifiedCard | Refused:
    select = nfc.read_handover_select()
    phone = engagement.decode_handover_select(select)
    nfc.select_mdoc()
    e_reader_key = session.new_key(random_bytes)
    e_reader_key_bytes = session.encode_key_bytes(e_reader_key.public_key())
    transcript = Transcript.of(phone.encoded, e_reader_key_bytes, engagement.handover_bytes(select))
    cipher = Cipher.for_reader(e_reader_key, phone.e_device_key, transcript)
    request = build_device_request(
        trust.doc_type, elements, transcript, reader.key, reader.certificate
    )
    answer = nfc.transceive(
        session.encode_establishment(e_reader_key_bytes, cipher.seal(request)),
        phone.limits.command_bytes,
    )
    data, status = session.decode_data(answer)
    if data is None or status not in (None, session.STATUS_TERMINATION):
        raise ProtocolViolation("the phone ended the session without an answer")
    expected = Expectation(
        doc_type=trust.doc_type,
        roots=trust.iaca_roots,
        status=trust.status_list(now),
        transcript=transcript,
        e_reader_key=e_reader_key,
        now=now,
    )
    return verify_response(cipher.open(data), expected)
