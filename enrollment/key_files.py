"""The keys of a site as PEM files. A demo's files say so in their first line."""

from __future__ import annotations

from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from enrollment.private_files import read_private, write_private
from gate.errors import ConfigError

DEMO_LINE = b"DEMO - not for production\n"
PrivateKey = ec.EllipticCurvePrivateKey | Ed25519PrivateKey
PublicKey = ec.EllipticCurvePublicKey | Ed25519PublicKey


def save_private(path: Path, key: PrivateKey, *, demo: bool) -> None:
    """Write a private key (PKCS#8), mode 0600."""
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_private(path, (DEMO_LINE if demo else b"") + pem)


def save_public(path: Path, key: PublicKey, *, demo: bool) -> None:
    """Write a public key (SubjectPublicKeyInfo)."""
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    write_private(path, (DEMO_LINE if demo else b"") + pem)


def save_certificate(path: Path, certificate: x509.Certificate) -> None:
    """Write a certificate; a demo's says so in its subject."""
    write_private(path, certificate.public_bytes(Encoding.PEM))


def load_p256_private(path: Path, what: str) -> ec.EllipticCurvePrivateKey:
    """Return a P-256 key.

    Raises:
        ConfigError: absent, open to others, or not such a key.
    """
    key = _load_private(path, what)
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise _wrong_kind(path, what)


def load_ed25519_private(path: Path, what: str) -> Ed25519PrivateKey:
    """Return an Ed25519 key.

    Raises:
        ConfigError: absent, open to others, or not such a key.
    """
    key = _load_private(path, what)
    if isinstance(key, Ed25519PrivateKey):
        return key
    raise _wrong_kind(path, what)


def load_p256_public(path: Path, what: str) -> ec.EllipticCurvePublicKey:
    """Return a P-256 public key.

    Raises:
        ConfigError: absent, or not such a key.
    """
    try:
        key = load_pem_public_key(path.read_bytes())
    except OSError as error:
        raise ConfigError(
            f"{what}: cannot read {path} ({error.strerror})", "is this the folder of a site?"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise _wrong_kind(path, what) from None
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise _wrong_kind(path, what)


def _load_private(path: Path, what: str) -> object:
    try:
        return load_pem_private_key(read_private(path, what), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise _wrong_kind(path, what) from None


def _wrong_kind(path: Path, what: str) -> ConfigError:
    return ConfigError(f"{what}: {path} holds no such key", "restore the file of this site")
