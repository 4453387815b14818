"""What a demo made opens no door in production, each thing with its own line."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from enrollment.key_files import load_ed25519_private
from enrollment.site import Site, create_site
from enrollment.site_documents import write_first_policy
from enrollment.site_layout import Layout

NOW = datetime.now(UTC)
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith("GATE_")}


@dataclass(frozen=True)
class Said:
    code: int
    lines: list[str]


def check(config: Path, **environment: str) -> Said:
    """Run `gate check-config`, which reads all that `gate run` reads before it starts anything."""
    done = subprocess.run(
        [sys.executable, "-m", "gate", "check-config", "--config", config],
        capture_output=True,
        text=True,
        check=False,
        env=ENVIRONMENT | environment,
    )
    assert done.stdout == "" or done.returncode == 0
    return Said(done.returncode, done.stderr.splitlines())


def found(folder: Path, *, demo: bool) -> Site:
    return create_site(
        folder,
        demo=demo,
        gate_id="gate-1",
        now=NOW - timedelta(days=2),
        random_bytes=os.urandom,
    )


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    return found(tmp_path_factory.mktemp("demo") / "site", demo=True).layout


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    return found(tmp_path_factory.mktemp("real") / "site", demo=False).layout


@pytest.fixture
def site(real: Layout, tmp_path: Path) -> Layout:
    """A copy of the real site, to put demo things into."""
    shutil.copytree(real.folder, tmp_path / "site")
    return Layout(tmp_path / "site")


def test_a_real_site_lacks_nothing_but_the_models(site: Layout) -> None:
    said = check(site.gate_toml)
    assert said.code == 2
    assert len(said.lines) == 1
    assert "is not in /var/lib/consentgate/models/packs/edge" in said.lines[0]
    assert "gate models fetch edge" in said.lines[0]


@pytest.mark.parametrize(
    "name", ["template_key", "ledger_key", "door_key", "reader_key", "authority_public"]
)
def test_a_demo_key_is_refused(demo: Layout, site: Layout, name: str) -> None:
    path: Path = getattr(site, name)
    shutil.copy(getattr(demo, name), path)
    said = check(site.gate_toml)
    assert said == Said(2, [f"gate: {path} is a demo key; make this site's own keys"])


@pytest.mark.parametrize("name", ["issuer_roots", "status_signer"])
def test_a_demo_certificate_is_refused(demo: Layout, site: Layout, name: str) -> None:
    shutil.copy(getattr(demo, name), getattr(site, name))
    assert check(site.gate_toml) == Said(
        2,
        [
            "gate: a certificate of a demo site is configured; "
            "use this site's own reader and issuer certificates"
        ],
    )


def test_a_demo_reader_is_refused_even_without_the_mark_in_its_key(
    demo: Layout, site: Layout
) -> None:
    pem = demo.reader_key.read_bytes()
    site.reader_key.write_bytes(pem[pem.index(b"-----BEGIN") :])
    shutil.copy(demo.reader_cert, site.reader_cert)
    said = check(site.gate_toml)
    assert said.code == 2
    assert "a certificate of a demo site is configured" in said.lines[0]


@pytest.mark.parametrize("name", ["policy", "deployment"])
def test_a_demo_document_is_refused_even_when_its_authority_is_trusted(
    demo: Layout, site: Layout, name: str
) -> None:
    pem = demo.authority_public.read_bytes()
    site.authority_public.write_bytes(pem[pem.index(b"-----BEGIN") :])
    for path in (demo.gate / f"{name}.json", demo.gate / f"{name}.json.sig"):
        shutil.copy(path, site.gate / path.name)
    if name == "deployment":
        # The policy must be this authority's own and real, so that the deployment is reached.
        key = load_ed25519_private(demo.authority_key, "authority key")
        site.policy.unlink()
        write_first_policy(site.policy, demo=False, now=NOW - timedelta(days=1), key=key)
        text = site.gate_toml.read_text()
        site.gate_toml.write_text(text.replace("# deployment =", "deployment ="))
    said = check(site.gate_toml)
    assert said == Said(
        2,
        [
            f"gate: {name}.json: this is a demo document; "
            "real operation needs a document signed by the site authority, without demo"
        ],
    )


def test_the_bootstrap_pack_is_refused(site: Layout) -> None:
    said = check(site.gate_toml, GATE_MODELS_PACK="bootstrap")
    assert said == Said(
        2,
        ["gate: the model pack 'bootstrap' is not for production; set [models] pack = \"edge\""],
    )


def test_a_demo_site_does_not_become_real_by_changing_its_mode(demo: Layout) -> None:
    said = check(demo.gate_toml, GATE_GATE_MODE="production")
    assert said == Said(2, [f"gate: {demo.template_key} is a demo key; make this site's own keys"])
