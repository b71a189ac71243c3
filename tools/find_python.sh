#!/bin/sh
# Prints the path of a Python that can make a virtual environment.
#   find_python.sh          any version from 3.11 on
#   find_python.sh 3.12     exactly that one; pyenv's versions are looked at too
# Otherwise one line on stderr and exit code 1.

usable() {
    "$1" -c "import sys; sys.exit(not ($2))" 2>/dev/null && "$1" -c 'import ensurepip, venv' 2>/dev/null
}

if [ -n "$1" ]; then
    minor=${1#3.}
    for python in "python$1" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1".*/bin/python; do
        if usable "$python" "sys.version_info[:2] == (3, $minor)"; then
            command -v "$python"
            exit 0
        fi
    done
    echo "no Python $1 on this machine." >&2
    exit 1
fi

for python in python3.11 python3.12 python3.13 python3.14 python3; do
    if usable "$python" "sys.version_info >= (3, 11)"; then
        command -v "$python"
        exit 0
    fi
done
if python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "python3 cannot make a virtual environment. Install it: apt-get install python3-venv" >&2
else
    echo "no Python >= 3.11 found. Install one (Debian 12, Ubuntu 24.04: apt-get install python3 python3-venv), or name it: make PYTHON=/path/to/python" >&2
fi
exit 1
