#!/usr/bin/env bash
# What USB devices need from the system: libusb for RealSense cameras, hidapi and a udev rule for
# SpaceMice. Says what is missing, and as root installs it.
#   setup_usb.sh VENV
set -euo pipefail
venv=$1
rules=/etc/udev/rules.d/70-spacemouse.rules
# The same as in envs/devices/spacemouse.py.
rule='KERNEL=="hidraw*", KERNELS=="*:256F:*|*:046D:C6*", MODE="0660", GROUP="plugdev", TAG+="uaccess"'

cameras() { "$venv/bin/python" -c 'import pyrealsense2' >/dev/null 2>&1; }
mice() { "$venv/bin/python" -c 'import ctypes.util as u; assert u.find_library("hidapi-hidraw")' >/dev/null 2>&1; }

missing() {
    cameras || printf ' libusb-1.0-0'
    mice || printf ' libhidapi-hidraw0'
}

packages=$(missing)
if [ -n "$packages" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "setup: installing$packages"
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $packages; } >"$venv/apt_usb.log" 2>&1 ||
        echo "setup: apt-get failed, see $venv/apt_usb.log"
fi
cameras || echo "setup: no libusb, so no RealSense cameras; the rest works. To have them: apt-get install libusb-1.0-0"
mice || echo "setup: no hidapi, so no SpaceMouse; the rest works. To have it: apt-get install libhidapi-hidraw0"

if [ -d "${rules%/*}" ] && [ ! -e "$rules" ]; then
    if [ "$(id -u)" = 0 ]; then
        echo "setup: $rules, so that the group plugdev may read a SpaceMouse"
        echo "$rule" >"$rules"
        udevadm control --reload 2>/dev/null && udevadm trigger 2>/dev/null || true
    else
        echo "setup: only root may read a SpaceMouse. To allow it, as root: echo '$rule' > $rules && udevadm control --reload && udevadm trigger"
    fi
fi
