"""The real thing: twenty canary passages, then the search, and a scanner that we did not write.

The product's design must leave nothing; the careless one must be caught by both.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gate.demo.stage import Cast
from gate.exit_codes import ExitCode
from gate.probe.passages import LEAST

BEYOND_A_TEST_S = 540


@dataclass(frozen=True)
class Probed:
    """What one run of `gate probe` said, and what YARA found while it held still."""

    code: int
    report: dict[str, Any]
    page: str
    residue_rules: dict[str, set[str]]
    """By process name, the residue rules that matched; empty where there is no yara."""
    control_rules: set[str]


def yara(rules: str, pid: str) -> set[str]:
    """Return the rules that match a process."""
    done = subprocess.run(
        ["yara", "--no-warnings", rules, pid], capture_output=True, text=True, check=False
    )
    # A process that yara may not read is an error of its own, never "no match".
    assert done.returncode == 0, done.stderr
    return {line.split()[0] for line in done.stdout.splitlines()}


def run_probe(design: str, cast: Cast, folder: Path) -> Probed:
    """Run `gate probe`, scan what it holds, and let it end."""
    assert cast.photos is not None
    command = [sys.executable, "-m", "gate", "probe", "--quiet", "--hold", "--design", design]
    command += ["--pack", cast.pack, "--pack-dir", str(cast.pack_folder)]
    command += ["--faces", str(cast.photos), "--passages", str(LEAST)]
    command += ["--json", str(folder / "report.json"), "--html", str(folder / "report.html")]
    command += ["--yara", str(folder / "needles.yar")]
    residues: dict[str, set[str]] = {}
    controls: set[str] = set()
    with (
        (folder / "errors").open("w+") as errors,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            for line in process.stdout:
                if not line.startswith("yara "):
                    continue
                said, _, name = line.partition("#")
                found = yara(*said.split()[1:]) if shutil.which("yara") else set()
                if "helper" in name:
                    controls = found
                    break
                residues[name.strip()] = found
            process.stdin.write("\n")
            process.stdin.close()
            process.stdout.read()
            code = process.wait(60)
        finally:
            process.kill()
        errors.seek(0)
        assert code in (ExitCode.OK, ExitCode.NO), errors.read()
    report = json.loads((folder / "report.json").read_text())
    page = (folder / "report.html").read_text()
    return Probed(code, report, page, residues, controls)


@pytest.fixture(scope="module")
def single_use(cast: Cast, tmp_path_factory: pytest.TempPathFactory) -> Probed:
    return run_probe("single-use", cast, tmp_path_factory.mktemp("single"))


@pytest.fixture(scope="module")
def naive(cast: Cast, tmp_path_factory: pytest.TempPathFactory) -> Probed:
    return run_probe("naive", cast, tmp_path_factory.mktemp("naive"))


def searched(probed: Probed) -> list[str]:
    return [place["target"].partition(" (")[0] for place in probed.report["searched"]]


@pytest.mark.timeout(BEYOND_A_TEST_S)
def test_nothing_remains_of_twenty_passages_with_exceptions(single_use: Probed) -> None:
    report = single_use.report
    assert report["residues"] == 0, report["searched"]
    assert report["clean"]
    assert single_use.code == ExitCode.OK
    # On a busy machine one may be walked twice; each must have gone as it should at last.
    assert sum(passage["as_expected"] for passage in report["passages"]) == LEAST
    assert report["controls_found"] == report["controls_planted"] == 8
    assert report["decoy_hits"] == 0
    assert report["needles"] > 200
    assert {"gate", "files written since the start"} <= set(searched(single_use))
    # Whoever may not read the sandboxed processes is told so, and never "0".
    unread = {entry["what"].partition(" (")[0] for entry in report["not_searched"]}
    assert {"key agent", "spare verifier"} <= set(searched(single_use)) | unread
    assert "Nothing remains" in single_use.page


@pytest.mark.timeout(BEYOND_A_TEST_S)
def test_the_careless_design_is_caught(naive: Probed) -> None:
    report = naive.report
    assert naive.code == ExitCode.NO
    assert report["residues"] > 0
    assert not report["clean"]
    (gate,) = [place for place in report["searched"] if place["target"].startswith("gate (")]
    assert len(gate["residues"]) > 3
    others = [place for place in report["searched"] if place is not gate]
    assert not any(place["residues"] for place in others)
    assert report["controls_found"] == report["controls_planted"]
    assert report["decoy_hits"] == 0


@pytest.mark.interop
@pytest.mark.timeout(BEYOND_A_TEST_S)
@pytest.mark.skipif(not shutil.which("yara"), reason="needs the Debian package 'yara'")
def test_an_independent_scanner_agrees(single_use: Probed, naive: Probed) -> None:
    for probed in (single_use, naive):
        assert len({rule for rule in probed.control_rules if rule.startswith("control_")}) == 4
        assert not {rule for rule in probed.control_rules if rule.startswith("residue_")}
    assert single_use.residue_rules
    for name, matched in single_use.residue_rules.items():
        assert matched == set(), f"{name}: {sorted(matched)}"
    careless = {name: found for name, found in naive.residue_rules.items() if found}
    assert [name.partition(" (")[0] for name in careless] == ["gate"]
