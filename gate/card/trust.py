"""Whose certificates count: issuing authorities for cards, the reader authority for readers.

Path building is `cryptography.x509.verification`; the ISO/IEC 18013-5 Annex B profiles are
extension policies on top of it. Chains have two certificates: authority, then signer.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID, ObjectIdentifier
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    Policy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from gate.card.verified import CardRefusal

EKU_DOCUMENT_SIGNER: Final = ObjectIdentifier("1.0.18013.5.1.2")
EKU_READER: Final = ObjectIdentifier("1.0.18013.5.1.6")
DEMO_UNIT: Final = "DEMO KEYS ONLY"
"""Organisational unit in the subject of every certificate that a demo site makes."""

CERTIFICATE_FAULTS: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
    Warning,  # "python -W error": an odd certificate is then refused as well
)
"""Everything that `cryptography` raises for the bytes of a bad certificate."""


def load_certificate(der: bytes) -> x509.Certificate | None:
    """Return the certificate, or None when these bytes are none that can be used here."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        _ = certificate.extensions, certificate.subject, certificate.issuer
        key = certificate.public_key()
    except CERTIFICATE_FAULTS:
        return None
    usable = isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)
    return certificate if usable and certificate.version is x509.Version.v3 else None


def p256_key(certificate: x509.Certificate) -> ec.EllipticCurvePublicKey:
    """Return the P-256 key of a certificate that `load_certificate` accepted."""
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return key


def is_demo(certificate: x509.Certificate) -> bool:
    """Whether this certificate was made by a demo site. Refuse it anywhere else."""
    units = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)
    return any(unit.value == DEMO_UNIT for unit in units)


def is_authority(certificate: x509.Certificate) -> bool:
    """Whether this certificate may be a trust anchor: P-256, version 3, CA, signs certificates."""
    if load_certificate(certificate.public_bytes(serialization.Encoding.DER)) is None:
        return False
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return False
    return constraints.ca and usage.key_cert_sign


def is_reader(certificate: x509.Certificate) -> bool:
    """Whether this certificate is meant for a reader (extended key usage, profile B.1.7)."""
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return False
    return list(usage) == [EKU_READER]


def check_document_signer(
    certificate: x509.Certificate, roots: Sequence[x509.Certificate], now: datetime
) -> CardRefusal | None:
    """Check a document signer certificate (ISO/IEC 18013-5 9.3.3, profile B.1.4).

    Returns:
        None when it may sign cards now; UNTRUSTED_ISSUER when none of `roots` issued it;
        NOT_YET_VALID when this clock is before its first date; ISSUER_PROFILE when its usage,
        last date or shape is wrong.
    """
    # Trust first, at a moment inside the certificate's own dates, so that an outsider's
    # certificate and an insider's outdated one are told apart. Nothing is accepted by this.
    first, last = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    moment = min(max(now, first), last)
    if not _verifies(certificate, roots, moment, ExtensionPolicy.permit_all()):
        return CardRefusal.UNTRUSTED_ISSUER
    if now < first:
        return CardRefusal.NOT_YET_VALID
    if not _verifies(certificate, roots, now, _signer_profile(EKU_DOCUMENT_SIGNER)):
        return CardRefusal.ISSUER_PROFILE
    return None


def check_reader(
    certificate: x509.Certificate, roots: Sequence[x509.Certificate], now: datetime
) -> bool:
    """Whether this is a reader certificate (profile B.1.7) of one of the reader authorities."""
    return _verifies(certificate, roots, now, _signer_profile(EKU_READER))


def _verifies(
    certificate: x509.Certificate,
    roots: Sequence[x509.Certificate],
    now: datetime,
    profile: ExtensionPolicy,
) -> bool:
    if not roots:
        return False
    verifier = (
        PolicyBuilder()
        .store(Store(list(roots)))
        .time(now.astimezone(UTC).replace(tzinfo=None))
        .max_chain_depth(0)
        .extension_policies(ca_policy=_authority_profile(), ee_policy=profile)
        .build_client_verifier()
    )
    try:
        chain = verifier.verify(certificate, []).chain
    except (VerificationError, *CERTIFICATE_FAULTS):
        return False
    # A root that is shown as a signer is a chain of one, which no profile was applied to.
    return len(chain) == 2


def _authority_profile() -> ExtensionPolicy:
    """An authority: basicConstraints CA and keyUsage keyCertSign, both critical (B.1.2)."""
    return (
        ExtensionPolicy.permit_all()
        .require_present(x509.BasicConstraints, Criticality.CRITICAL, _is_authority)
        .require_present(x509.KeyUsage, Criticality.CRITICAL, _signs_certificates)
    )


def _signer_profile(usage: ObjectIdentifier) -> ExtensionPolicy:
    """A signer: keyUsage digitalSignature alone, EKU `usage` alone, both critical, no CA."""

    def extended_usage(
        _policy: Policy, _certificate: x509.Certificate, extension: x509.ExtendedKeyUsage
    ) -> None:
        if list(extension) != [usage]:
            raise ValueError("extended key usage is not the one of this role")

    return (
        ExtensionPolicy.permit_all()
        .require_present(x509.ExtendedKeyUsage, Criticality.CRITICAL, extended_usage)
        .require_present(x509.KeyUsage, Criticality.CRITICAL, _signs_data_only)
        .require_present(x509.AuthorityKeyIdentifier, Criticality.NON_CRITICAL, None)
        .may_be_present(x509.BasicConstraints, Criticality.AGNOSTIC, _is_no_authority)
    )


def _is_authority(
    _policy: Policy, _certificate: x509.Certificate, extension: x509.BasicConstraints
) -> None:
    if not extension.ca:
        raise ValueError("not a certificate authority")


def _is_no_authority(
    _policy: Policy, _certificate: x509.Certificate, extension: x509.BasicConstraints | None
) -> None:
    if extension is not None and extension.ca:
        raise ValueError("a certificate authority cannot sign cards or requests")


def _signs_certificates(
    _policy: Policy, _certificate: x509.Certificate, extension: x509.KeyUsage
) -> None:
    if not extension.key_cert_sign:
        raise ValueError("key may not sign certificates")


def _signs_data_only(
    _policy: Policy, _certificate: x509.Certificate, extension: x509.KeyUsage
) -> None:
    if not extension.digital_signature or extension.key_cert_sign or extension.crl_sign:
        raise ValueError("key usage is not digitalSignature alone")
