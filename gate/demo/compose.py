"""Pictures that nobody photographed: two people side by side, and nobody.

`python -m gate.demo.compose OWNER OTHER FOLDER`, a process of its own: the gate process of the
demo must never hold a photograph.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np

HEIGHT_PX = 720


def compose(owner: Path, other: Path, folder: Path) -> None:
    """Write two_faces.png and nobody.png into `folder`.

    Raises:
        OSError: a picture cannot be read or written.
    """
    halves = []
    for path in (owner, other):
        picture = cv2.imread(str(path))
        if picture is None:
            raise OSError(f"{path} is not an image")
        width = round(picture.shape[1] * HEIGHT_PX / picture.shape[0])
        halves.append(cv2.resize(picture, (width, HEIGHT_PX), interpolation=cv2.INTER_AREA))
    shade = np.linspace(60, 190, HEIGHT_PX, dtype=np.uint8)
    wall = np.broadcast_to(shade[:, None, None], (HEIGHT_PX, HEIGHT_PX, 3))
    for name, picture in (("two_faces", np.hstack(halves)), ("nobody", np.ascontiguousarray(wall))):
        if not cv2.imwrite(str(folder / f"{name}.png"), picture):
            raise OSError(f"cannot write {folder / name}.png")


if __name__ == "__main__":
    compose(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
