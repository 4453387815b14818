"""Which files the photographs are, and whether they can be looked at: asked before the person is.

Only the first bytes are read here. Decoding a picture stays in the capture process.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from enrollment.errors import WrongInput

PHOTOS_MAX = 20
PHOTO_MAX_BYTES = 64 * 1024 * 1024
PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
_KINDS = "give a JPEG, PNG, BMP or WebP file"


def photo_files(paths: Sequence[Path]) -> tuple[Path, ...]:
    """Return the image files; a folder stands for its images in name order.

    Raises:
        WrongInput: none, too many, or a folder that cannot be listed.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            try:
                files += sorted(p for p in path.iterdir() if p.suffix.lower() in PHOTO_SUFFIXES)
            except OSError as error:
                raise WrongInput(
                    f"{path} cannot be listed ({error.strerror})", "check --photo"
                ) from None
        else:
            files.append(path)
    if not 0 < len(files) <= PHOTOS_MAX:
        raise WrongInput(
            f"{len(files)} photographs were given", f"give 1 to {PHOTOS_MAX} of one person"
        )
    return tuple(files)


def check_photographs(paths: Sequence[Path]) -> None:
    """Refuse what cannot be looked at, before anybody is asked for consent or a PIN.

    Raises:
        WrongInput: no such file, no regular file, empty, too large, or not an image by its first
            bytes.
    """
    for path in photo_files(paths):
        try:
            # Non-blocking, because opening a pipe waits for somebody to write into it.
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb", buffering=0) as file:
                facts = os.fstat(file.fileno())
                if not stat.S_ISREG(facts.st_mode):
                    raise WrongInput(f"{path} is not a regular file", _KINDS)
                head = file.read(12) or b""
        except FileNotFoundError:
            raise WrongInput(f"{path}: no such photograph", "check --photo") from None
        except OSError as error:
            raise WrongInput(f"{path} cannot be read ({error.strerror})", "check --photo") from None
        if facts.st_size > PHOTO_MAX_BYTES:
            raise WrongInput(
                f"{path} is larger than {PHOTO_MAX_BYTES // 2**20} MiB", "give a smaller picture"
            )
        if not _looks_like_an_image(head):
            raise WrongInput(f"{path} is not a readable image", _KINDS)


def _looks_like_an_image(head: bytes) -> bool:
    """Tell JPEG, PNG, BMP and WebP (RFC 9649) by their first 12 bytes."""
    return head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM")) or (
        head[:4] == b"RIFF" and head[8:] == b"WEBP"
    )
