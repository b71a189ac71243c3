#!/usr/bin/env bash
# RealSense cameras need libusb: says so when it is missing, and as root installs it.
#   setup_usb.sh VENV
set -euo pipefail
venv=$1
packages="libusb-1.0-0"

loads() {
    "$venv/bin/python" -c 'import pyrealsense2' >/dev/null 2>&1
}

loads && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "setup: installing libusb ($packages)"
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $packages; } >"$venv/apt_usb.log" 2>&1 ||
        echo "setup: apt-get failed, see $venv/apt_usb.log"
    loads && exit 0
fi
echo "setup: no libusb, so no RealSense cameras; the rest works. To have them: apt-get install $packages"
