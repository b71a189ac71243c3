#!/usr/bin/env bash
# Installs the wheel as on a robot PC, under one Python version: first the base requirements alone,
# which must import; then the arm's extras, with which the robot server's own tests must pass.
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
tree=$PWD
cd / # so that the tree's packages cannot be the ones imported
"$venv/bin/python" "$tree/tools/robot_pc.py"
"$venv/bin/serl" --help >/dev/null

case $version in 3.10 | 3.12) ;; *) exit 0 ;; esac # the Pythons of ROS 2 Humble and Jazzy
tested=$venv-tested
stamp=$tested/.installed
cd "$tree"
[ -x "$tested/bin/python" ] || "$python" -m venv --without-pip "$tested"
if [ ! -e "$stamp" ] || [ -n "$(find pyproject.toml constraints -newer "$stamp" -name '*.t*')" ]; then
    wheel=$(echo dist/*.whl)
    tools/install.sh "$tested/bin/python" -c constraints/full.txt "$wheel[franky,robotiq,http]" \
        pytest pytest-timeout hypothesis
    touch "$stamp"
fi
tools/install.sh "$tested/bin/python" --no-deps --force-reinstall dist/*.whl
cd /
log=$tested/tests.log
"$tested/bin/python" -m pytest -q -p no:cacheprovider --no-header --rootdir "$tree" \
    "$tree"/tests/guard/test_{config,guard,joint_path,recorder,safety}.py \
    "$tree"/tests/robot_server/test_{convert,lease}.py \
    "$tree"/tests/hardware/test_{hardware_backend,robotiq}.py >"$log" 2>&1 || {
    cat "$log"
    exit 1
}
echo "robot-pc: Python $version, the robot server's tests: $(tail -1 "$log")"
