#!/usr/bin/env bash
# Takes edge-qc off a device: sudo deploy/uninstall.sh [--purge]. Config and records stay unless --purge is given.
set -Eeuo pipefail
PATH=$PATH:/usr/sbin:/sbin

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=deploy/lib.sh
. "$here/lib.sh"
[ "$(id -u)" -eq 0 ] || die "uninstalling needs root. Run: sudo $0 $*"

if command -v systemctl >/dev/null; then
    systemctl --quiet disable edge-qc 2>/dev/null || true
    [ ! -d /run/systemd/system ] || systemctl stop edge-qc 2>/dev/null || true
fi
rm -rf /opt/edge-qc /etc/systemd/system/edge-qc.service /etc/mosquitto/conf.d/edge-qc.conf /etc/mosquitto/edge-qc.acl
if [ "${1:-}" = --purge ]; then
    rm -rf /etc/edge-qc /var/lib/edge-qc
    userdel edge-qc 2>/dev/null || true
else
    say "kept: /etc/edge-qc and /var/lib/edge-qc (--purge removes them)"
fi
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    systemctl try-restart mosquitto || true
fi
say "removed. Mosquitto stays: apt-get remove mosquitto"
