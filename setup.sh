#!/bin/sh
# Usage: setup.sh VENV LOCKFILE
# Makes a virtual environment in this checkout from a lock file whose every entry has a hash.
set -eu
venv=$1 lock=$2 python=${PYTHON:-python3}
trap 'say "interrupted; run the same command again"; exit 130' INT
say() { printf '%s\n' "setup: $*" >&2; }

command -v "$python" >/dev/null || { say "$python not found; install Python 3.11, 3.12 or 3.13, or set PYTHON=/path/to/python3"; exit 2; }
"$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || {
  say "$("$python" --version) is not supported; set PYTHON to a Python 3.11, 3.12 or 3.13"; exit 2; }
if [ ! -x "$venv/bin/python" ] || ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
  "$python" -c 'import ensurepip' 2>/dev/null || {
    say "this Python cannot make virtual environments; run: apt install python3-venv"; exit 2; }
  say "making $venv"
  rm -rf "$venv"
  "$python" -m venv "$venv"
fi
say "installing what $lock names, every file checked by hash (one to three minutes the first time)"
"$venv/bin/python" -m pip install --disable-pip-version-check --quiet --require-hashes -r "$lock" || {
  say "the packages could not be installed; see above, check the network, run the same command again"; exit 2; }
"$venv/bin/python" -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation -e .
