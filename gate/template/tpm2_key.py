"""A template key that was made inside this machine's TPM 2.0 and never leaves it.

The file holds the key encrypted by the TPM's own storage key (PEM "TSS2 PRIVATE KEY", as the
OpenSSL providers for TPMs write it): another machine's TPM refuses it, and so does this one when
the key is bound to boot measurements (PCRs) and the machine was booted in another way.
Source: TCG TPM 2.0 Library, part 3: Create, Load, ECDH_ZGen, PolicyPCR.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from tpm2_pytss import ESAPI, TSS2_Exception
from tpm2_pytss.constants import (
    ESYS_TR,
    TPM2_ALG,
    TPM2_CAP,
    TPM2_ECC,
    TPM2_HC,
    TPM2_RH,
    TPM2_SE,
    TPMA_OBJECT,
    TPMA_SESSION,
)
from tpm2_pytss.tsskey import TSSPrivKey
from tpm2_pytss.types import (
    TPM2B_DIGEST,
    TPM2B_ECC_POINT,
    TPM2B_PUBLIC,
    TPM2B_SENSITIVE_CREATE,
    TPML_PCR_SELECTION,
    TPMS_ECC_PARMS,
    TPMS_ECC_POINT,
    TPMT_ECC_SCHEME,
    TPMT_KDF_SCHEME,
    TPMT_PUBLIC,
    TPMT_SYM_DEF,
    TPMT_SYM_DEF_OBJECT,
    TPMU_PUBLIC_PARMS,
    TPMU_SYM_KEY_BITS,
    TPMU_SYM_MODE,
)

from gate.errors import ConfigError, KeyAgentFault
from gate.template.key_source import SourceKind
from gate.template.keys import DeviceKey
from gate.template.tpm2_blob import TpmBlob
from gate.template.tpm2_transport import OpenTpm

_COORDINATE_BYTES = 32
_HANDLES = 64
_KEEPS_TO_ITSELF = (
    TPMA_OBJECT.DECRYPT
    | TPMA_OBJECT.FIXEDTPM
    | TPMA_OBJECT.FIXEDPARENT
    | TPMA_OBJECT.SENSITIVEDATAORIGIN
)


class Tpm:
    """A TPM in use, with its storage key loaded.

    Args:
        fd: see `tpm2_transport.open_tpm`.

    Raises:
        ConfigError: it makes no storage key, for example because its owner set a password.
    """

    def __init__(self, fd: int) -> None:
        try:
            self._esys = ESAPI(OpenTpm(fd))
            if stat.S_ISSOCK(os.fstat(fd).st_mode):
                self._flush_leftovers()
            self._parent = self._esys.create_primary(
                TPM2B_SENSITIVE_CREATE(), TPM2B_PUBLIC(_storage_template()), ESYS_TR.RH_OWNER
            )[0]
        except TSS2_Exception:
            raise ConfigError(
                "the TPM makes no storage key",
                "see that it is TPM 2.0 and that its owner hierarchy has no password",
            ) from None

    def make(self, pcrs: Sequence[int] = ()) -> tuple[TpmBlob, ec.EllipticCurvePublicKey]:
        """Make a new P-256 key in the TPM.

        Args:
            pcrs: the key opens only while these SHA-256 PCRs are as they are now.

        Raises:
            ConfigError: the TPM refuses.
        """
        try:
            policy = self._policy_digest(pcrs) if pcrs else b""
            private, public = self._esys.create(
                self._parent, TPM2B_SENSITIVE_CREATE(), TPM2B_PUBLIC(_key_template(policy))
            )[:2]
            blob = TpmBlob(TSSPrivKey(private, public, parent=TPM2_RH.OWNER).to_pem(), tuple(pcrs))
        except (TSS2_Exception, ValueError):
            raise ConfigError("the TPM makes no P-256 key", "see whether it allows one") from None
        return blob, _public_key(public)

    def load(self, blob: TpmBlob, where: str) -> DeviceKey:
        """Return the key, ready to be used.

        Raises:
            ConfigError: damaged, of another TPM, or a key that could leave it.
        """
        try:
            key = TSSPrivKey.from_pem(blob.pem)
        except (TSS2_Exception, ValueError, TypeError):
            raise ConfigError(
                f"{where} is no key file of a TPM", "make one: gate keys make tpm2"
            ) from None
        kept = key.public.publicArea.objectAttributes & _KEEPS_TO_ITSELF
        if kept != _KEEPS_TO_ITSELF:
            raise ConfigError(f"{where} may leave its TPM", "make one: gate keys make tpm2")
        public_key = _public_key(key.public)
        try:
            handle = self._esys.load(self._parent, key.private, key.public)
            session = self._session(TPM2_SE.POLICY if blob.pcrs else TPM2_SE.HMAC)
        except TSS2_Exception:
            raise ConfigError(
                f"{where} was made by another TPM, or is damaged",
                "make a key on this machine (gate keys make tpm2) and enrol cards to it",
            ) from None

        def agree(peer: ec.EllipticCurvePublicKey) -> bytes:
            numbers = peer.public_numbers()
            x, y = (n.to_bytes(_COORDINATE_BYTES, "big") for n in (numbers.x, numbers.y))
            point = TPM2B_ECC_POINT(TPMS_ECC_POINT(x=x, y=y))
            try:
                if blob.pcrs:
                    self._esys.policy_restart(session)
                    self._apply_policy(session, blob.pcrs)
                shared = self._esys.ecdh_zgen(handle, point, session1=session)
            except TSS2_Exception:
                raise KeyAgentFault(
                    "the TPM does not use the template key",
                    "see whether it answers, and whether this machine was booted in another way",
                ) from None
            return bytes(shared.point.x).rjust(_COORDINATE_BYTES, b"\0")

        return DeviceKey(public_key, agree, SourceKind.TPM2)

    def _flush_leftovers(self) -> None:
        """Take out of a software TPM what an earlier user left; a device's kernel driver does."""
        for first in (TPM2_HC.TRANSIENT_FIRST, TPM2_HC.LOADED_SESSION_FIRST):
            _, found = self._esys.get_capability(TPM2_CAP.HANDLES, first, _HANDLES)
            for handle in found.data.handles:
                self._esys.flush_context(self._esys.tr_from_tpmpublic(handle))

    def _session(self, kind: TPM2_SE) -> ESYS_TR:
        """Open a session whose answers are encrypted on the way from a TPM chip."""
        session = self._esys.start_auth_session(
            self._parent, ESYS_TR.NONE, kind, _aes_128_cfb(TPMT_SYM_DEF), TPM2_ALG.SHA256
        )
        attributes = TPMA_SESSION.CONTINUESESSION | TPMA_SESSION.ENCRYPT
        self._esys.trsess_set_attributes(session, attributes)
        return session

    def _apply_policy(self, session: ESYS_TR, pcrs: Sequence[int]) -> None:
        selection = TPML_PCR_SELECTION.parse("sha256:" + ",".join(map(str, pcrs)))
        self._esys.policy_pcr(session, TPM2B_DIGEST(), selection)

    def _policy_digest(self, pcrs: Sequence[int]) -> bytes:
        session = self._session(TPM2_SE.TRIAL)
        try:
            self._apply_policy(session, pcrs)
            return bytes(self._esys.policy_get_digest(session))
        finally:
            self._esys.flush_context(session)


def _aes_128_cfb(kind: Any) -> Any:
    return kind(
        algorithm=TPM2_ALG.AES,
        keyBits=TPMU_SYM_KEY_BITS(aes=128),
        mode=TPMU_SYM_MODE(aes=TPM2_ALG.CFB),
    )


def _storage_template() -> TPMT_PUBLIC:
    """Return the template that tpm2-openssl uses too; the same key at every start."""
    attributes = _KEEPS_TO_ITSELF | TPMA_OBJECT.RESTRICTED
    attributes |= TPMA_OBJECT.USERWITHAUTH | TPMA_OBJECT.NODA
    return _template(attributes, _aes_128_cfb(TPMT_SYM_DEF_OBJECT), b"")


def _key_template(policy: bytes) -> TPMT_PUBLIC:
    attributes = _KEEPS_TO_ITSELF | TPMA_OBJECT.NODA
    if not policy:
        attributes |= TPMA_OBJECT.USERWITHAUTH
    return _template(attributes, TPMT_SYM_DEF_OBJECT(algorithm=TPM2_ALG.NULL), policy)


def _template(attributes: TPMA_OBJECT, symmetric: object, policy: bytes) -> TPMT_PUBLIC:
    return TPMT_PUBLIC(
        type=TPM2_ALG.ECC,
        nameAlg=TPM2_ALG.SHA256,
        objectAttributes=attributes,
        authPolicy=policy,
        parameters=TPMU_PUBLIC_PARMS(
            eccDetail=TPMS_ECC_PARMS(
                symmetric=symmetric,
                scheme=TPMT_ECC_SCHEME(scheme=TPM2_ALG.NULL),
                curveID=TPM2_ECC.NIST_P256,
                kdf=TPMT_KDF_SCHEME(scheme=TPM2_ALG.NULL),
            )
        ),
    )


def _public_key(public: TPM2B_PUBLIC) -> ec.EllipticCurvePublicKey:
    area = public.publicArea
    if area.type != TPM2_ALG.ECC or area.parameters.eccDetail.curveID != TPM2_ECC.NIST_P256:
        raise ConfigError("a TPM key is not on P-256", "make one: gate keys make tpm2")
    x, y = (int.from_bytes(bytes(part), "big") for part in (area.unique.ecc.x, area.unique.ecc.y))
    try:
        return ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    except ValueError:
        raise ConfigError("a TPM key is damaged", "make one: gate keys make tpm2") from None
