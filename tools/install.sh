#!/usr/bin/env bash
# pip install into one Python's environment, by uv, which is several times faster; where uv cannot
# (an index that only pip's configuration names, say) by pip itself.
#   install.sh PYTHON [arguments that uv and pip share]
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
python=$1
shift

uv=$here/.venv/bin/uv
if [ -x "$uv" ] && "$uv" pip install --quiet --python "$python" "$@" 2>"$here/.venv/uv.log"; then
    exit 0
fi
"$here/.venv/bin/python" -m pip --python "$python" install --quiet --disable-pip-version-check "$@"
