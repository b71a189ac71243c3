#!/usr/bin/env bash
# Uses the built wheel from an environment and a folder that know nothing of this tree.
#   wheel_check.sh .venv/bin/python
# The wheel is installed alone; its requirements are read from .venv's packages, whose editable
# install (a .pth file) is not active on PYTHONPATH. tools/robot_pc.sh installs requirements afresh.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$PWD/$1

away=$(mktemp -d)
trap 'rm -rf "$away"' EXIT
packages=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
"$python" -m venv --without-pip "$away/venv"
tools/install.sh "$away/venv/bin/python" --no-deps dist/*.whl
cp tools/wheel_check.py "$away"
git ls-files -- serl robot_servers envs launch examples benchmarks >"$away/files" 2>/dev/null || rm "$away/files"

cd "$away"
export PYTHONPATH=$packages PYTHONNOUSERSITE=1
venv/bin/python wheel_check.py
venv/bin/serl --help >/dev/null
venv/bin/serl list >/dev/null
echo "wheel-check: serl --help, serl list"
