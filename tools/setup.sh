#!/usr/bin/env bash
# Make a virtual environment from a lock file: tools/setup.sh PYTHON FOLDER LOCK
set -euo pipefail
python=$1 folder=$2 lock=$3

fail() {
  printf '%s\n' "$*" >&2
  exit 1
}

command -v "$python" >/dev/null || fail "no $python: install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3.12"
"$python" -c '' 2>/dev/null || fail "cannot run $python: name a Python that works, as in make PYTHON=/path/to/python3.12"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
  fail "$("$python" --version 2>&1) is too old: Python 3.11 or newer is needed, as in make PYTHON=python3.12"

# What the environment was made of: when nothing of it changed, there is nothing to do.
interpreter=$("$python" -c 'import os, sys; print(os.path.realpath(sys.executable), *sys.version_info[:3])')
state="$interpreter $(cat requirements/uv.txt "$lock" pyproject.toml tools/setup.sh | sha256sum)"
[ "$(cat "$folder/.ready" 2>/dev/null || true)" != "$state" ] || exit 0

if ! "$python" -c 'import ensurepip' 2>/dev/null; then
  package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing the Debian package $package, for virtual environments ..." >&2
    apt-get update -qq >&2 && apt-get install -y -qq "$package" >&2 || fail "cannot install $package"
  else
    fail "this Python cannot make virtual environments: apt-get install $package"
  fi
fi

echo "setting up $folder from $lock ..." >&2
# Made anew when the interpreter changed; otherwise brought up to date.
if [ ! -x "$folder/bin/uv" ] || [ "$(head -c ${#interpreter} "$folder/.ready" 2>/dev/null || true)" != "$interpreter" ]; then
  rm -rf "$folder"
  "$python" -m venv "$folder"
  "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
fi
"$folder/bin/uv" pip sync --quiet --require-hashes --python "$folder/bin/python" "$lock"
"$folder/bin/uv" pip install --quiet --no-deps --no-build-isolation --python "$folder/bin/python" --editable .
printf '%s\n' "$state" >"$folder/.ready"
