"""The canary: pictures, a site and cards that exist for one probe and are known to the last byte.

Every run makes its pictures anew, with noise of its own: whatever is found later can come from
nowhere but this run, whoever else works with the same photographs on this machine.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from enrollment.capture_wire import Progress
from enrollment.site import Site
from enrollment.wallet import Wallet
from gate.card import mdoc
from gate.demo.scenarios import Card, View
from gate.demo.stage import (
    Cast,
    Lens,
    enrol_owner,
    found_site,
    issue_cards,
    issue_pin_card,
    utc_now,
)
from gate.errors import ConfigError
from gate.probe.card_needles import template_aux_of, template_needles
from gate.probe.forms import only_face, picture_needles, vector_forms
from gate.probe.needles import Kind, Needle
from gate.template.protection import protect
from models.pack import Pack

HEIGHT_PX: Final = 560
_NOISE: Final = 3
_DARKEST, _BRIGHTEST = 12, 243
_JPEG_QUALITY: Final = 92
_PIN_DIGITS: Final = 12
_SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})


@dataclass(frozen=True)
class Faces:
    """Photographs that a canary is made of. `absent` shows somebody, or a moment, never shown."""

    enrolled: Path
    at_the_gate: Path
    other: Path
    absent: Path | None

    @classmethod
    def samples(cls, folder: Path) -> Faces:
        """Return the sample photographs of a cache."""
        return cls(
            folder / "owner-1.jpg",
            folder / "owner-2.jpg",
            folder / "other-1.jpg",
            folder / "owner-3.jpg",
        )

    @classmethod
    def in_folder(cls, folder: Path) -> Faces:
        """Return photographs out of a folder with one folder for each person.

        The first person with two photographs is enrolled, the next one is somebody else, and one
        more, if there is one, never comes. A copy of the sample photographs is taken as it is.

        Raises:
            ConfigError: fewer than two people, or nobody with two photographs.
        """
        if (folder / "owner-1.jpg").exists():
            return cls.samples(folder)
        try:
            people = [_pictures(person) for person in sorted(folder.iterdir()) if person.is_dir()]
        except OSError as error:
            raise ConfigError(
                f"{folder} cannot be listed: {error.strerror}", "give --faces a folder"
            ) from None
        people = [pictures for pictures in people if pictures]
        owner = next((pictures for pictures in people if len(pictures) > 1), None)
        others = [pictures for pictures in people if pictures is not owner]
        if owner is None or not others:
            raise ConfigError(
                f"{folder} does not hold two people, one of them with two photographs",
                "make one folder for each person in it, with JPEG or PNG files",
            )
        absent = others[1][0] if len(others) > 1 else (owner[2] if len(owner) > 2 else None)
        return cls(owner[0], owner[1], others[0][0], absent)


def _pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)


def mark(photo: Path, to: Path, random: Callable[[int], bytes]) -> None:
    """Write a picture that looks like `photo` and shares no run of bytes with it.

    Raises:
        ConfigError: it is no image, or cannot be written.
    """
    picture = cv2.imread(str(photo))
    if picture is None:
        raise ConfigError(f"{photo} is not an image", "give JPEG, PNG, BMP or WebP files")
    width = round(picture.shape[1] * HEIGHT_PX / picture.shape[0])
    small = cv2.resize(picture, (width, HEIGHT_PX), interpolation=cv2.INTER_AREA)
    rng = np.random.default_rng(int.from_bytes(random(16), "big"))
    noise = rng.integers(-_NOISE, _NOISE + 1, small.shape)
    # Away from black and white, so that no area is flat: a flat piece says nothing.
    noisy = np.clip(small.astype(np.int64), _DARKEST, _BRIGHTEST) + noise
    if not cv2.imwrite(str(to), noisy.astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]):
        raise ConfigError(f"{to} cannot be written", "free some disk space")


@dataclass(frozen=True, repr=False)
class Pins:
    """Two PINs long enough to be looked for."""

    right: str
    wrong: str

    @classmethod
    def fresh(cls) -> Pins:
        """Return two random PINs of twelve digits."""
        return cls(
            *("".join(secrets.choice("0123456789") for _ in range(_PIN_DIGITS)) for _ in "ab")
        )


class Canary:
    """One canary site with its people, pictures and cards below one private folder."""

    def __init__(
        self,
        folder: Path,
        faces: Faces,
        pack: str,
        pack_folder: Path,
        random: Callable[[int], bytes],
    ) -> None:
        """Make the pictures.

        Raises:
            ConfigError: a photograph cannot be used.
        """
        self.folder = folder
        self.pictures = folder / "pictures"
        """What stands in front of the lens. Not searched: the pictures themselves are there."""
        self.pictures.mkdir(mode=0o700)
        for name, photo in (
            ("owner-1", faces.enrolled),
            ("owner-2", faces.at_the_gate),
            ("other-1", faces.other),
            ("absent", faces.absent),
        ):
            if photo is not None:
                mark(photo, self.pictures / f"{name}.jpg", random)
        self.cast = Cast(pack, pack_folder, self.pictures, None)
        self.lens = Lens(folder / "lens", self.pictures)
        self.pins = Pins.fresh()
        self.site_folder = folder / "site"
        self.cards_folder = folder / "cards"
        self._site: Site | None = None
        self.cards: dict[Card, Wallet] = {}
        self.tampered: Wallet | None = None

    @property
    def inputs(self) -> tuple[Path, ...]:
        """Where the pictures lie, on purpose."""
        return (self.pictures, self.folder / "lens")

    @property
    def site(self) -> Site:
        """The site; after `enrol`."""
        assert self._site is not None
        return self._site

    def enrol(self, progress: Callable[[Progress], None] = lambda _: None) -> None:
        """Found the site, enrol one person and issue every card.

        Raises:
            GateError, DeviceFault, ModelFault: see enrollment.
        """
        site = self._site = found_site(self.site_folder, self.cast, self.lens.source)
        pin = self.pins.right
        owner = enrol_owner(site, self.cast, progress, pin)
        self.cards = issue_cards(
            site, owner, lambda: enrol_owner(site, self.cast, progress, pin), pin
        )
        self.cards_folder.mkdir(mode=0o700)
        for card, wallet in self.cards.items():
            wallet.save(self.cards_folder / f"{card.value}.card")
        self.tampered = self._tamper(self.cards[Card.OWNER])
        # A second card with a PIN, so that the wrong PINs of one lock nobody out.
        self.spare_pin_card = issue_pin_card(site, pin=pin)

    def _tamper(self, wallet: Wallet) -> Wallet:
        """Return the owner's card with one bit of the sealed template turned over."""
        sealed = wallet.elements[mdoc.SEALED_TEMPLATE]
        assert isinstance(sealed, bytes)
        whole = (self.cards_folder / f"{Card.OWNER.value}.card").read_bytes()
        assert whole.count(sealed) == 1
        path = self.cards_folder / "tampered.card"
        path.touch(mode=0o600)
        path.write_bytes(whole.replace(sealed, sealed[:-1] + bytes([sealed[-1] ^ 1])))
        return Wallet.load(path, utc_now, os.urandom)

    def needles(self, pack: Pack, tell: Callable[[str], None]) -> list[Needle]:
        """Return everything that must not remain, in all its forms."""
        needles: list[Needle] = []
        files = {
            "enrolment": self.pictures / "owner-1.jpg",
            "owner": self.pictures / "owner-2.jpg",
            "other": self.pictures / "other-1.jpg",
            "two faces": self.lens.picture(View.TWO_FACES),
        }
        for name, path in files.items():
            tell(f"needles: {name}")
            needles += picture_needles(name, path.read_bytes(), pack)
        key_file = self.site.layout.template_key
        for card in (Card.OWNER, Card.WITHDRAWN_STALE):
            path = self.cards_folder / f"{card.value}.card"
            if card is Card.OWNER:
                needles += template_needles(card.value, path, key_file)
            for name in ("owner", "other"):
                seen = only_face(files[name].read_bytes(), pack, name)
                if seen is not None:
                    protected = protect(seen, template_aux_of(path)).values
                    needles += vector_forms(f"{name} protected for {card.value}", protected)
        needles.append(Needle("PIN", Kind.TEXT, self.pins.right.encode()))
        needles.append(Needle("wrong PIN", Kind.TEXT, self.pins.wrong.encode()))
        return needles

    def decoys(self, pack: Pack) -> list[Needle]:
        """Return, in all forms, the photograph that nobody showed to anything."""
        absent = self.pictures / "absent.jpg"
        return picture_needles("absent", absent.read_bytes(), pack) if absent.exists() else []


def kinds_of(needles: Sequence[Needle]) -> dict[str, int]:
    """Return how many needles there are of each kind."""
    return {kind.value: sum(n.kind is kind for n in needles) for kind in Kind}
