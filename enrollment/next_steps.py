"""What comes after `enroll site create`, in the order in which it is done."""

from __future__ import annotations

import shlex
from pathlib import Path

from enrollment.site import STATUS_DAYS, Site

CACHE = Path(".cache/consentgate")
"""Where `gate models fetch` puts packs when nobody says otherwise."""


def fetched_folder(pack: str, cache: Path = CACHE) -> Path:
    """Return where `gate models fetch` puts a pack, absolute, whether it is there yet or not."""
    return cache.resolve() / "packs" / pack


def next_steps(site: Site, folder: Path, pack: str, pack_folder: Path) -> str:
    """Return the commands that bring a new site into use.

    Args:
        site: just made.
        folder: the site's folder, as the person wrote it.
        pack: name of the models.
        pack_folder: absolute; what gate.toml names.
    """
    config = shlex.quote(str(site.config_path))
    if pack_folder.is_dir():
        fetch = f"gate models verify {pack} --dir {shlex.quote(str(pack_folder))}"
        where = f"(fetched already: {pack_folder}, the folder in [models] dir)"
    elif pack_folder.parts[-2:] == ("packs", pack):
        cache = pack_folder.parent.parent
        fetch = f"gate models fetch {pack} --cache {shlex.quote(str(cache))}"
        where = f"(lands in {pack_folder}, the folder in [models] dir)"
    else:
        fetch = f"gate models fetch {pack}"
        where = f"(prints the folder it made; copy it to {pack_folder}, the one in [models] dir)"
    return f"""\
next, in this order:
  1. {fetch}
     {where}
  2. gate check-config --config {config}
  3. gate run --config {config}
and at least every {STATUS_DAYS} days: enroll site publish {shlex.quote(str(folder))}
(a gate refuses every card when its status list has expired)"""
