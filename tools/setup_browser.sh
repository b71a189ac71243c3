#!/usr/bin/env bash
# The console's test drives Debian's Chromium: says so when it is missing, and as root installs it.
#   setup_browser.sh VENV
set -euo pipefail
venv=$1
packages="chromium"

found() {
    command -v chromium || command -v chromium-browser || command -v google-chrome
} >/dev/null

found && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "setup: installing a browser ($packages)"
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $packages; } >"$venv/apt_browser.log" 2>&1 ||
        echo "setup: apt-get failed, see $venv/apt_browser.log"
    found && exit 0
fi
echo "setup: no Chromium, so the console's test in a browser is skipped; the console works. To have it: apt-get install $packages"
