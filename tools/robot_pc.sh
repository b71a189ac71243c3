#!/usr/bin/env bash
# Installs the wheel as on a robot PC, under one Python version: base requirements only, no extra.
#   robot_pc.sh 3.12
set -euo pipefail
cd "$(dirname "$0")/.."
version=$1
venv=$PWD/.venv-robot-$version

if ! python=$(tools/find_python.sh "$version" 2>/dev/null); then
    echo "robot-pc: no Python $version here, not checked"
    exit 0
fi
[ -x "$venv/bin/python" ] || "$python" -m venv --without-pip "$venv"
stamp=$venv/.installed
if [ ! -e "$stamp" ] || [ -n "$(find pyproject.toml constraints/base.txt -newer "$stamp")" ]; then
    tools/install.sh "$venv/bin/python" -c constraints/base.txt dist/*.whl
    touch "$stamp"
fi
tools/install.sh "$venv/bin/python" --no-deps --force-reinstall dist/*.whl
check=$PWD/tools/robot_pc.py
cd / # so that the tree's packages cannot be the ones imported
"$venv/bin/python" "$check"
"$venv/bin/serl" --help >/dev/null
