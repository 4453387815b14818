"""Settings that could only fail later, at the first card or with an internal failure: refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from enrollment.gate_config import Devices, gate_toml
from enrollment.site_layout import Layout
from gate.errors import ConfigError
from gate.settings import load_settings


@pytest.fixture
def config(tmp_path: Path) -> Path:
    layout = Layout(tmp_path)
    layout.gate.mkdir()
    layout.gate_toml.write_text(gate_toml(layout, "gate-1", demo=True, devices=Devices()))
    return layout.gate_toml


def change(config: Path, old: str, new: str) -> None:
    text = config.read_text()
    assert old in text
    config.write_text(text.replace(old, new))


def refused(config: Path, **environ: str) -> str:
    with pytest.raises(ConfigError) as error:
        load_settings(config, environ)
    said = error.value.diagnostics()
    assert "\n" not in said
    return said


@pytest.mark.parametrize(
    "zone", ["0.9,0,0.1,1", "0,1,1,0", "0.5,0,0.5,1", "0,0.2,1,0.2", "0,0,0,0", "nan,0,1,1"]
)
def test_a_zone_without_an_inside(config: Path, zone: str) -> None:
    assert "[camera.zone" in refused(config, GATE_CAMERA_ZONE=zone)


@pytest.mark.parametrize("source", ["bogus:0", "cam", "http://10.0.0.9/", "v4l2", "", "/dev/x"])
def test_a_camera_of_no_known_kind(config: Path, source: str) -> None:
    assert "[camera.source]" in refused(config, GATE_CAMERA_SOURCE=source)


@pytest.mark.parametrize(
    "source", ["0", "v4l2:/dev/video2", "file:a.mp4", "folder:/x", "rtsp://c/1", "sim:a?fps=3"]
)
def test_a_camera_of_a_known_kind(config: Path, source: str) -> None:
    settings = load_settings(config, {"GATE_CAMERA_SOURCE": source})
    assert settings.camera.source == source


def test_the_address_of_a_camera_is_in_no_repr_and_no_message(config: Path) -> None:
    secret = "rtsp://admin:" + "s3cret@10.0.0.9/x"
    assert "s3cret" not in repr(load_settings(config, {"GATE_CAMERA_SOURCE": secret}))
    said = refused(config, GATE_CAMERA_SOURCE="x" + secret)
    assert "s3cret" not in said


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ('port = "/dev/', 'port = "\\u0000/dev/', "turnstile.port"),
        ('status_list = "', 'status_list = "a\\u0000', "card.status_list"),
        ('template_keys = ["', 'template_keys = ["a\\u0000', "keys.template_keys"),
        ('reader = "socket:', 'reader = "socket:\\u0000', "card.reader"),
        ('source = "v4l2:', 'source = "v4l2:\\u0000', "camera.source"),
        ('data_dir = "', 'data_dir = "\\u0000', "gate.data_dir"),
    ],
)
def test_a_nul_character(config: Path, old: str, new: str, where: str) -> None:
    change(config, old, new)
    said = refused(config)
    assert f"[{where}" in said
    assert "NUL" in said


@pytest.mark.parametrize("value", ["3", '"x"', "[1]", "false"])
def test_a_section_that_is_no_table(config: Path, value: str) -> None:
    text = config.read_text()
    config.write_text(f"kiosk = {value}\n" + text[: text.index("[kiosk]")])
    assert "[kiosk]" in refused(config)
    said = refused(config, GATE_KIOSK_PORT="1")
    assert "[kiosk] is not a table, and GATE_KIOSK_PORT replaces a value in it" in said


@pytest.mark.parametrize("deep", ["[" * 5000 + "]" * 5000, "{a=" * 3000 + "1" + "}" * 3000])
def test_a_text_nested_deeper_than_python_reads(config: Path, deep: str) -> None:
    config.write_text(f"x = {deep}\n" + config.read_text())
    assert "nested too deeply" in refused(config)


def test_a_number_of_too_many_digits(config: Path) -> None:
    change(config, "baud = 115200", "baud = " + "9" * 5000)
    assert "is not TOML" in refused(config)
    change(config, "baud = " + "9" * 5000, "baud = 0x" + "f" * 5000)
    assert "[turnstile.baud]" in refused(config)
