"""The manifest: what ships is well formed, and what is malformed is refused."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

import models.manifest
from models.errors import ModelFault
from models.manifest import list_packs, manifest, pack_spec, parse_manifest

TEXT = Path(models.manifest.__file__).with_name("manifest.toml").read_text(encoding="utf-8")


def test_both_packs_ship_and_only_edge_is_for_production() -> None:
    packs = {pack.name: pack.for_production for pack in list_packs()}
    assert packs == {"bootstrap": False, "edge": True}


def test_the_68_point_model_is_nowhere() -> None:
    """Its licence forbids commercial use."""
    assert "shape_predictor_68" not in TEXT
    names = [file.name for pack in list_packs() for file in pack.files]
    assert not any("68" in name for name in names)


def test_bootstrap_needs_nothing_but_sdists() -> None:
    for file in pack_spec("bootstrap").files:
        assert file.origin.sdist or file.origin.converted_from
        assert file.licence == "CC0-1.0"


def test_every_threshold_names_its_report() -> None:
    for pack in list_packs():
        assert 0 < pack.match_min_cos < 1
        assert "benchmarks/calibrate.py" in pack.report.command
        assert "FMR" in pack.report.result


def test_sdists_that_files_name_are_pinned() -> None:
    book = manifest()
    files = [file for pack in book.packs.values() for file in pack.files]
    for file in (*files, *book.sample_photos):
        if file.origin.sdist is not None:
            assert re.fullmatch(r"[0-9a-f]{64}", book.sdists[file.origin.sdist].sha256)


def test_an_unknown_pack_is_named_with_the_known_ones() -> None:
    with pytest.raises(ModelFault) as caught:
        pack_spec("cloud")
    assert caught.value.diagnostics() == (
        "there is no model pack 'cloud'; choose one of bootstrap, edge"
    )


def replaced(old: str, new: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new)

    return change


@pytest.mark.parametrize(
    "change",
    [
        replaced("version = 1", "version = 2"),
        replaced("version = 1", "version = 1\nextra = 1"),
        replaced("mirror = true", "mirrored = true"),
        replaced("dim = 128\n", ""),
        replaced('origin.url = "https://', 'origin.url = "http://'),
        replaced('role = "embedder"', 'role = "watch_list"'),
        replaced("live_min = ", "# live_min = "),
        replaced('name = "yunet_n_dynamic.onnx"', 'name = "../yunet_n_dynamic.onnx"'),
        replaced("size_bytes = 322906", "size_bytes = 0"),
        replaced('sha256 = "104ee26c', 'sha256 = "104EE26C'),
        replaced('colour = "RGB"', 'colour = "YUV"'),
        replaced('origin.by_hand = "', 'origin.url = "https://a"\norigin.by_hand = "'),
        lambda text: text[: len(text) // 2] + "= = =",
    ],
)
def test_a_malformed_manifest_is_refused(change: Callable[[str], str]) -> None:
    with pytest.raises(ModelFault, match=r"models/manifest\.toml"):
        parse_manifest(change(TEXT))
