#!/usr/bin/env bash
# Videos and camera images need off-screen OpenGL: says so when it is missing, and as root installs it.
#   setup_gl.sh VENV
set -euo pipefail
venv=$1
packages="libegl1 libgles2 libgl1 libgl1-mesa-dri"

renders() {
    MUJOCO_GL=egl "$venv/bin/python" -c 'import mujoco; mujoco.GLContext(16, 16).make_current()' >/dev/null 2>&1
}

renders && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "setup: installing OpenGL ($packages)"
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $packages; } >"$venv/apt.log" 2>&1 ||
        echo "setup: apt-get failed, see $venv/apt.log"
    renders && exit 0
fi
echo "setup: no off-screen OpenGL, so no videos and no camera images; the rest works. To have them: apt-get install $packages"
