"""The firmware's sources under static analysis and, for a bounded number of runs, the fuzzer."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from firmware_bridge.errors import DeviceFault
from firmware_bridge.firmware.host_core import SOURCES, build


def needs(*tools: str) -> pytest.MarkDecorator:
    missing = [tool for tool in tools if shutil.which(tool) is None]
    return pytest.mark.skipif(
        bool(missing), reason=f"needs the Debian packages {', '.join(missing)}"
    )


@needs("make", "gcc", "cppcheck")
def test_static_analysis_finds_nothing(tmp_path):
    build("check", tmp_path)


@needs("make", "gcc", "cppcheck")
def test_static_analysis_does_find_what_is_wrong(tmp_path):
    copy = tmp_path / "sources"
    shutil.copytree(SOURCES, copy, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    source = copy / "core/nonce.c"
    wrong = (
        "\nvoid wrong(void);\nvoid wrong(void)\n{\n    int a[2];\n    a[2] = 1;\n    (void)a;\n}\n"
    )
    source.write_text(source.read_text() + wrong)
    with pytest.raises(DeviceFault, match="check"):
        build("check", tmp_path / "out", sources=copy)


@needs("make", "clang")
def test_the_fuzzer_finds_nothing_in_a_few_thousand_runs(tmp_path):
    try:
        build("fuzzer", tmp_path)
    except DeviceFault as fault:
        if "cannot find" in fault.advice or "libclang_rt" in fault.advice:
            pytest.skip("needs the Debian package libclang-rt-14-dev")
        raise
    done = subprocess.run(
        [
            tmp_path / "fuzz",
            "-runs=3000",
            "-seed=1",
            "-max_len=512",
            f"-artifact_prefix={tmp_path}/",
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr[-2000:]
