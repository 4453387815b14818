"""One frozen Settings: file, then GATE_*; whatever fits no key is refused."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import ValidationError

from enrollment.gate_config import Devices, gate_toml
from enrollment.site_layout import Layout
from gate.errors import ConfigError
from gate.settings import NOT_SETTINGS, Settings, load_settings
from gate.template.key_source import KeySource

EXAMPLE = Path(__file__).parents[2] / "gate.example.toml"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    layout = Layout(tmp_path)
    layout.gate.mkdir()
    layout.gate_toml.write_text(gate_toml(layout, "gate-1", demo=True, devices=Devices()))
    return layout.gate_toml


def refused(config: Path, environ: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as error:
        load_settings(config, environ or {})
    said = error.value.diagnostics()
    assert "\n" not in said
    return said


def test_what_a_new_site_writes_is_accepted_with_absolute_paths(config: Path) -> None:
    settings = load_settings(config, {})
    base = config.parent.resolve()
    assert settings.gate.data_dir == base / "data"
    assert settings.ledger.path == base / "data" / "ledger.db"
    assert settings.card.reader == f"socket:{base}/antenna.sock"
    assert settings.keys.template_keys == (KeySource.parse(str(base / "template.key")),)
    assert settings.turnstile.port == Path("/dev/serial/by-id/turnstile")
    assert settings.kiosk.host == "127.0.0.1"


def test_the_annotated_example_is_accepted() -> None:
    assert load_settings(EXAMPLE, {}).gate.mode == "production"


def test_settings_cannot_change(config: Path) -> None:
    settings = load_settings(config, {})
    with pytest.raises(ValidationError):
        settings.gate.mode = "production"  # type: ignore[misc]  # that is the point


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("GATE_TURNSTILE_PORT", "/dev/ttyS1", lambda s: str(s.turnstile.port)),
        ("GATE_TURNSTILE_KEY_FILE", "/etc/osdp.key", lambda s: str(s.turnstile.key_file)),
        ("GATE_KIOSK_PORT", "0", lambda s: str(s.kiosk.port)),
        ("GATE_GATE_MODE", "production", lambda s: s.gate.mode),
        ("GATE_CAMERA_SOURCE", "v4l2:2", lambda s: s.camera.source),
        ("GATE_CAMERA_LOOK_MS", "900", lambda s: str(s.camera.look_ms)),
        ("GATE_MODELS_SPARES", "3", lambda s: str(s.models.spares)),
    ],
)
def test_a_variable_replaces_one_value(config: Path, name: str, value: str, read: Any) -> None:
    assert read(load_settings(config, {})) != value
    assert read(load_settings(config, {name: value})) == value


def test_lists_are_separated_by_commas(config: Path) -> None:
    environ = {
        "GATE_KEYS_TEMPLATE_KEYS": "/new.key,/old.key",
        "GATE_CAMERA_ZONE": "0.1,0.2,0.9,1.0",
    }
    settings = load_settings(config, environ)
    assert settings.keys.template_keys == tuple(map(KeySource.parse, ("/new.key", "/old.key")))
    assert settings.camera.zone == (0.1, 0.2, 0.9, 1.0)


@pytest.mark.parametrize(
    "name", ["GATE_TURNSTILE_PROT", "GATE_NOTHING", "GATE_", "GATE_KIOSK", "GATE_GATE_MODE_X"]
)
def test_a_variable_that_names_nothing_is_refused(config: Path, name: str) -> None:
    assert refused(config, {name: "1"}) == f"{name} names no setting; unset it or correct its name"


def test_other_variables_are_nobodys_business(config: Path) -> None:
    environ = dict.fromkeys(NOT_SETTINGS, "x") | {"PATH": "/bin", "MY_GATE_ID": "x"}
    assert load_settings(config, environ) == load_settings(config, {})


@pytest.mark.parametrize(
    ("name", "value", "where"),
    [
        ("GATE_KIOSK_PORT", "70000", "kiosk.port"),
        ("GATE_KIOSK_HOST", "0.0.0.0", "kiosk.host"),
        ("GATE_GATE_MODE", "test", "gate.mode"),
        ("GATE_GATE_ID", "Gate 1", "gate.id"),
        ("GATE_CAMERA_ZONE", "0,0,1", "camera.zone"),
        ("GATE_CAMERA_ZONE", "0,0,1,2", "camera.zone"),
        ("GATE_CAMERA_LOOK_MS", "60000", "camera.look_ms"),
        ("GATE_TURNSTILE_BAUD", "19200", "turnstile.baud"),
        ("GATE_TURNSTILE_PULSE_MS", "1", "turnstile.pulse_ms"),
        ("GATE_CARD_READER", "usb", "card.reader"),
        ("GATE_MODELS_PACK", "best", "models.pack"),
    ],
)
def test_a_value_out_of_range_is_refused(config: Path, name: str, value: str, where: str) -> None:
    said = refused(config, {name: value})
    assert f"[{where}" in said
    assert "gate.example.toml" in said


def test_no_variable_makes_a_demo_of_a_production_gate(config: Path) -> None:
    text = config.read_text()
    config.write_text(text.replace('mode = "demo"', 'mode = "production"'))
    assert config.read_text() != text
    said = refused(config, {"GATE_GATE_MODE": "demo"})
    assert "cannot turn a production gate into a demo" in said


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[kiosk]", "[kiosk]\nlogin = false", "[kiosk.login] Extra inputs are not permitted"),
        ("[kiosk]", "[cloud]\nurl = 'x'\n[kiosk]", "[cloud] Extra inputs are not permitted"),
        ('mode = "demo"', "", "[gate.mode] Field required"),
        ('id = "gate-1"', "id = 'a'\nid = 'b'", "is not TOML"),
        ("template_keys = [", "template_keys = [] #", "[keys.template_keys]"),
    ],
)
def test_unknown_missing_and_doubled_keys_are_refused(
    config: Path, old: str, new: str, said: str
) -> None:
    text = config.read_text()
    assert old in text
    config.write_text(text.replace(old, new))
    assert said in refused(config)


def test_a_file_that_is_not_there_or_not_text(config: Path) -> None:
    said = refused(config.with_name("none.toml"))
    assert said.startswith("cannot read ")
    assert "give --config the path of a gate.toml" in said
    config.write_bytes(b"\xff\xfe\x00")
    assert "is not TOML" in refused(config)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), st.lists))
@hypothesis_settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_value_of_any_type_is_taken_or_refused_and_breaks_nothing(
    config: Path, value: object
) -> None:
    document = tomllib.loads(config.read_text())
    for section in Settings.model_fields:
        if section not in document:
            continue
        for key in document[section]:
            changed = document | {section: document[section] | {key: value}}
            try:
                Settings.model_validate(changed)
            except ValidationError as error:
                assert error.errors()
