"""A template key inside a PKCS#11 token: the token does the Diffie-Hellman (CKM_ECDH1_DERIVE).

Source: PKCS #11 v2.40, mechanisms, 2.3.5 (ECDH1); the URI is RFC 7512.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pkcs11
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pkcs11 import KDF, Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass
from pkcs11.exceptions import PKCS11Error
from pkcs11.util.ec import encode_named_curve_parameters

from gate.errors import ConfigError, KeyAgentFault
from gate.template.key_source import SourceKind
from gate.template.keys import DeviceKey
from gate.template.token_uri import TokenUri

_POINT_BYTES = 65
_READABLE = {Attribute.TOKEN: False, Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True}


def load(uri: TokenUri, pin: Callable[[], bytes | None]) -> DeviceKey:
    """Log into the token and return its key.

    The session stays open and logged in as long as the process lives.

    Args:
        uri: which key.
        pin: gives the user PIN; called once.

    Raises:
        ConfigError: no such module, token or key, a wrong PIN, or a key that could leave the token.
    """
    session = _log_in(uri, pin, rw=False)
    try:
        private = session.get_key(**_names(uri), object_class=ObjectClass.PRIVATE_KEY)
        public_key = _public_key(
            session.get_key(**_names(uri), object_class=ObjectClass.PUBLIC_KEY)
        )
        kept = private[Attribute.SENSITIVE] and not private[Attribute.EXTRACTABLE]
    except PKCS11Error as error:
        raise ConfigError(
            f"the token holds no such template key ({type(error).__name__})",
            "check object and id in the URI, or make one: gate keys make pkcs11",
        ) from None
    if not kept:
        raise ConfigError("the template key may leave its token", "make one: gate keys make pkcs11")

    def agree(peer: ec.EllipticCurvePublicKey) -> bytes:
        point = peer.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        try:
            shared = private.derive_key(
                KeyType.GENERIC_SECRET,
                256,
                mechanism=Mechanism.ECDH1_DERIVE,
                mechanism_param=(KDF.NULL, None, point),
                template=_READABLE,
            )
            value = bytes(shared[Attribute.VALUE])
            shared.destroy()
        except PKCS11Error:
            raise KeyAgentFault(
                "the token does not use the template key", "see that it is plugged in"
            ) from None
        return value

    return DeviceKey(public_key, agree, SourceKind.PKCS11)


def make(uri: TokenUri, pin: Callable[[], bytes | None]) -> ec.EllipticCurvePublicKey:
    """Make a new P-256 key inside the token, which it can never leave.

    Raises:
        ConfigError: no such module or token, a wrong PIN, a key of that name already, or the
            token makes none.
    """
    session = _log_in(uri, pin, rw=True)
    try:
        if any(session.get_objects({Attribute.CLASS: ObjectClass.PRIVATE_KEY, **_named(uri)})):
            raise ConfigError("the token has a key of this name already", "choose another object")
        curve = {Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")}
        domain = session.create_domain_parameters(KeyType.EC, curve, local=True)
        public, _ = domain.generate_keypair(
            store=True,
            label=uri.object,
            id=uri.id or b"",
            capabilities=MechanismFlag.DERIVE,
            private_template={Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False},
        )
        return _public_key(public)
    except PKCS11Error as error:
        raise ConfigError(
            f"the token makes no P-256 key ({type(error).__name__})",
            "see whether it allows CKM_EC_KEY_PAIR_GEN and CKM_ECDH1_DERIVE",
        ) from None
    finally:
        session.close()


def _log_in(uri: TokenUri, pin: Callable[[], bytes | None], *, rw: bool) -> Any:
    # The token first, so that nobody is asked for the PIN of a token that is not there.
    wanted = {"token_label": uri.token, "token_serial": uri.serial and uri.serial.encode()}
    try:
        token = pkcs11.lib(uri.module_path).get_token(**wanted)
    except (PKCS11Error, RuntimeError) as error:
        raise ConfigError(
            f"no such token ({type(error).__name__})",
            "see that it is plugged in, and check token and module-path in the URI",
        ) from None
    secret = pin()
    if secret is None:
        raise ConfigError(
            "the token needs its PIN", "add pin-source=FILE to the URI, or start at a terminal"
        )
    try:
        return token.open(rw=rw, user_pin=secret.decode())
    except (PKCS11Error, UnicodeDecodeError) as error:
        raise ConfigError(
            f"the token does not accept the PIN ({type(error).__name__})",
            "check it before the token locks itself",
        ) from None


def _names(uri: TokenUri) -> dict[str, Any]:
    names = {"label": uri.object, "id": uri.id, "key_type": KeyType.EC}
    return {name: value for name, value in names.items() if value is not None}


def _named(uri: TokenUri) -> dict[Attribute, Any]:
    names = {Attribute.LABEL: uri.object, Attribute.ID: uri.id}
    return {name: value for name, value in names.items() if value is not None}


def _public_key(public: Any) -> ec.EllipticCurvePublicKey:
    # Some tokens give the bare point, most a DER OCTET STRING around it.
    point = bytes(public[Attribute.EC_POINT])[-_POINT_BYTES:]
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    except ValueError:
        raise ConfigError(
            "the token's template key is not on P-256", "make one: gate keys make pkcs11"
        ) from None
