"""Run every command of a README's ```sh blocks, in order; stop at the first that fails."""

import re
import subprocess
import sys
from pathlib import Path

text = Path(sys.argv[1]).read_text(encoding="utf-8")
blocks = re.findall(r"^```sh\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)
commands = [line for block in blocks for line in block.splitlines() if line.strip()]
if not any(command.startswith("make test") for command in commands):
    sys.exit("README names no `make test`")
for command in commands:
    print(f"\n$ {command}", flush=True)
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", command], check=False)  # noqa: S603, S607
    if done.returncode != 0:
        sys.exit(f"README command failed with {done.returncode}: {command}")
print(f"\n{len(commands)} README commands work")
