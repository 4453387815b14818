"""The certificates of one site: issuing authority, document signer, status signer, readers.

Profiles: ISO/IEC 18013-5 Annex B (B.1.2 IACA, B.1.4 document signer, B.1.7 reader). Keys come from
the given randomness and signatures are deterministic (RFC 6979), so the same inputs make the same
certificates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID, ObjectIdentifier

from gate.card import session
from gate.card.reader import ReaderIdentity
from gate.card.trust import DEMO_UNIT, EKU_DOCUMENT_SIGNER, EKU_READER

IACA_MAX: Final = timedelta(days=20 * 365)
DOCUMENT_SIGNER_MAX: Final = timedelta(days=457)
READER_MAX: Final = timedelta(days=1187)

RandomBytes = Callable[[int], bytes]


@dataclass(frozen=True)
class Site:
    """What every certificate of one site says about its owner.

    `demo` marks every certificate so that a production gate refuses it.
    """

    organization: str
    country: str = "KR"
    contact_uri: str = "https://cards.example/contact"
    crl_uri: str = "https://cards.example/crl"
    demo: bool = False


@dataclass(frozen=True, repr=False)
class Authority:
    """A certificate authority: an IACA for cards, or a reader authority."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate
    site: Site


@dataclass(frozen=True, repr=False)
class DocumentSigner:
    """Signs MSOs."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate


@dataclass(frozen=True, repr=False)
class StatusSigner:
    """Signs status lists. Gates pin its certificate."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate


def create_iaca(
    site: Site, now: datetime, random_bytes: RandomBytes, valid: timedelta = timedelta(days=3652)
) -> Authority:
    """Make a self-signed issuing authority. Raises ValueError beyond the profile's 20 years."""
    return _create_authority("IACA", site, now, random_bytes, _within(valid, IACA_MAX))


def create_reader_authority(
    site: Site, now: datetime, random_bytes: RandomBytes, valid: timedelta = timedelta(days=3652)
) -> Authority:
    """Make a self-signed authority for readers; phones trust it."""
    return _create_authority("Reader CA", site, now, random_bytes, _within(valid, IACA_MAX))


def create_document_signer(
    iaca: Authority,
    now: datetime,
    random_bytes: RandomBytes,
    valid: timedelta = DOCUMENT_SIGNER_MAX,
) -> DocumentSigner:
    """Make a document signer. Raises ValueError beyond the profile's 457 days."""
    key = session.new_key(random_bytes)
    _within(valid, DOCUMENT_SIGNER_MAX)
    certificate = _create_signer(
        iaca, "Document Signer", key, EKU_DOCUMENT_SIGNER, now, random_bytes, valid
    )
    return DocumentSigner(key, certificate)


def create_status_signer(
    iaca: Authority,
    now: datetime,
    random_bytes: RandomBytes,
    valid: timedelta = DOCUMENT_SIGNER_MAX,
) -> StatusSigner:
    """Make a status list signer: no extended usage, so it can sign neither cards nor requests."""
    key = session.new_key(random_bytes)
    certificate = _create_signer(iaca, "Status Signer", key, None, now, random_bytes, valid)
    return StatusSigner(key, certificate)


def create_reader(
    authority: Authority,
    gate_name: str,
    now: datetime,
    random_bytes: RandomBytes,
    valid: timedelta = timedelta(days=365),
) -> ReaderIdentity:
    """Make the reader identity of one gate. Raises ValueError beyond the profile's 1187 days."""
    key = session.new_key(random_bytes)
    _within(valid, READER_MAX)
    certificate = _create_signer(authority, gate_name, key, EKU_READER, now, random_bytes, valid)
    return ReaderIdentity(key, certificate)


def _create_authority(
    role: str, site: Site, now: datetime, random_bytes: RandomBytes, valid: timedelta
) -> Authority:
    key = session.new_key(random_bytes)
    name = _name(site, f"{site.organization} {role}")
    certificate = (
        _builder(name, name, key.public_key(), now, now + valid, random_bytes)
        .add_extension(
            x509.KeyUsage(
                digital_signature=False, content_commitment=False, key_encipherment=False,
                data_encipherment=False, key_agreement=False, key_cert_sign=True, crl_sign=True,
                encipher_only=False, decipher_only=False,
            ),
            critical=True,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_contact(site), critical=False)
        .add_extension(_revocation(site), critical=False)
        .sign(key, hashes.SHA256(), ecdsa_deterministic=True)
    )  # fmt: skip
    return Authority(key, certificate, site)


def _create_signer(
    authority: Authority,
    common_name: str,
    key: ec.EllipticCurvePrivateKey,
    usage: ObjectIdentifier | None,
    now: datetime,
    random_bytes: RandomBytes,
    valid: timedelta,
) -> x509.Certificate:
    site, issuer = authority.site, authority.certificate
    last = min(now + valid, issuer.not_valid_after_utc)
    builder = (
        _builder(
            _name(site, common_name), issuer.subject, key.public_key(), now, last, random_bytes
        )
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()),
            critical=False,
        )
        .add_extension(
            x509.KeyUsage(
                digital_signature=True, content_commitment=False, key_encipherment=False,
                data_encipherment=False, key_agreement=False, key_cert_sign=False, crl_sign=False,
                encipher_only=False, decipher_only=False,
            ),
            critical=True,
        )
        .add_extension(_contact(site), critical=False)
        .add_extension(_revocation(site), critical=False)
    )  # fmt: skip
    if usage is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=True)
    return builder.sign(authority.key, hashes.SHA256(), ecdsa_deterministic=True)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    first: datetime,
    last: datetime,
    random_bytes: RandomBytes,
) -> x509.CertificateBuilder:
    # Positive, 127 bits: the profile wants at least 63 random bits in at most 20 octets.
    serial = int.from_bytes(random_bytes(16), "big") >> 1 | 1 << 126
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(serial)
        .not_valid_before(first)
        .not_valid_after(last)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _name(site: Site, common_name: str) -> x509.Name:
    attributes = [
        x509.NameAttribute(NameOID.COUNTRY_NAME, site.country),
        x509.NameAttribute(NameOID.COMMON_NAME, common_name),
    ]
    # Nothing more: the document signer's certificate travels with every tap (9 ms per 100 bytes).
    if site.demo:
        attributes.insert(1, x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, DEMO_UNIT))
    return x509.Name(attributes)


def _contact(site: Site) -> x509.IssuerAlternativeName:
    return x509.IssuerAlternativeName([x509.UniformResourceIdentifier(site.contact_uri)])


def _revocation(site: Site) -> x509.CRLDistributionPoints:
    point = x509.DistributionPoint([x509.UniformResourceIdentifier(site.crl_uri)], None, None, None)
    return x509.CRLDistributionPoints([point])


def _within(valid: timedelta, most: timedelta) -> timedelta:
    if not timedelta(0) < valid <= most:
        raise ValueError(f"validity of {valid.days} days, the profile allows 1 to {most.days}")
    return valid
