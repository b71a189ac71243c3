#!/usr/bin/env bash
# Fills .venv with everything that `make demo` and `make test` need, at the pinned versions.
#   setup.sh [PYTHON]
# Without PYTHON one is looked for; .venv keeps the one it has.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${1:-}

if [ ! -x .venv/bin/python ]; then
    [ -n "$python" ] || python=$(tools/find_python.sh)
    echo "setup: .venv with $("$python" --version)"
    "$python" -m venv .venv
fi

extras=learner,sim,log,dev,franky,franky-sim,robotiq,http,cameras,devices,console,formats,rlds
constraints=(-c constraints/full.txt)
if command -v nvidia-smi >/dev/null && nvidia-smi -L 2>/dev/null | grep -q '^GPU'; then
    echo "setup: an NVIDIA GPU answers: the learner gets JAX for CUDA"
    extras=learner-cuda,$extras
    constraints+=(-c constraints/cuda.txt)
fi

# The build back end is pinned too, hence no build isolation.
tools/install.sh .venv/bin/python -c constraints/build.txt uv setuptools
tools/install.sh .venv/bin/python "${constraints[@]}" --no-build-isolation --editable ".[$extras]"

tools/setup_gl.sh .venv
tools/setup_usb.sh .venv
tools/setup_browser.sh .venv
