#!/usr/bin/env bash
# Installs or upgrades edge-qc on a Debian 12+, Raspberry Pi OS or Ubuntu device: sudo deploy/install.sh [WHEEL]
# Without WHEEL, one is built from the source tree that this script stands in. Run twice, it changes nothing twice.
set -Eeuo pipefail
PATH=$PATH:/usr/sbin:/sbin

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=deploy/lib.sh
. "$here/lib.sh"
root=${here%/*}
prefix=/opt/edge-qc
wheel=${1:-}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'die "install.sh stopped at line $LINENO ($BASH_COMMAND). What is done stays; put it right and run it again"' ERR

check_machine() {
    [ "$(id -u)" -eq 0 ] || die "installing needs root. Run: sudo $0 $wheel"
    case $(uname -m) in
    x86_64 | aarch64 | armv7l) ;;
    *) die "no model runtime for $(uname -m): expected x86_64, aarch64 or armv7l" ;;
    esac
    [ -z "$wheel" ] || [ -f "$wheel" ] || die "no wheel at $wheel. Build one with: python3 -m pip wheel --no-deps ."
    [ -n "$wheel" ] || [ -f "$root/pyproject.toml" ] || die "no source tree around $0. Give it a wheel: sudo $0 WHEEL"
}

install_packages() {
    local missing=()
    command -v python3 >/dev/null || missing+=(python3)
    python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
    command -v mosquitto >/dev/null || missing+=(mosquitto)
    [ ${#missing[@]} -eq 0 ] || need_packages "missing from the system" "${missing[@]}"
}

# The system's own Python: one from a version manager would vanish with the user who installed it.
install_program() {
    PYTHON=${PYTHON:-python3} make_venv $prefix
    if [ -z "$wheel" ]; then
        say "building the wheel from $root"
        $prefix/bin/python -m pip wheel -qq --no-deps --wheel-dir "$scratch" "$root" || die "building failed (see above)"
        wheel=$(echo "$scratch"/edge_qc-*.whl)
    fi
    say "installing $(basename "$wheel") into $prefix"
    # First what it depends on, then itself even where its version number has not changed.
    pip_install $prefix "$wheel"
    pip_install $prefix --force-reinstall --no-deps "$wheel"
}

create_user() {
    getent passwd edge-qc >/dev/null ||
        useradd --system --user-group --no-create-home --home-dir /var/lib/edge-qc --shell /usr/sbin/nologin edge-qc
    ! getent group video >/dev/null || usermod --append --groups video edge-qc
}

# put_config SOURCE TARGET: what a person may have edited is never overwritten.
put_config() {
    if [ ! -e "$2" ]; then
        install -D -m 0644 "$1" "$2"
    elif ! cmp -s "$1" "$2"; then
        install -m 0644 "$1" "$2.new"
        say "$2 differs from this version's: kept. Compare it with $2.new"
    fi
}

install_files() {
    local packaged cameras
    packaged=$($prefix/bin/python -I -c 'import edge_qc; print(edge_qc.__path__[0])')/config.yaml ||
        die "$prefix/bin/python cannot import edge_qc (see above)"
    # The packaged default draws its parts. On a device that would reject real parts by pictures that nobody took.
    # The path by its name stays a camera's however many are plugged in; index0 is the node with its pictures.
    cameras=(/dev/v4l/by-id/*-video-index0 /dev/video0)
    [ -e "${cameras[0]}" ] || cameras=(/dev/video0)
    sed "s|^  uri: .*|  uri: ${cameras[0]}|" "$packaged" >"$scratch/config.yaml"
    put_config "$scratch/config.yaml" /etc/edge-qc/config.yaml
    put_config "$here/mosquitto-edge-qc.conf" /etc/mosquitto/conf.d/edge-qc.conf
    put_config "$here/mosquitto-edge-qc.acl" /etc/mosquitto/edge-qc.acl
    # Mosquitto warns of an access list that anybody can read, and will refuse it one day.
    ! getent passwd mosquitto >/dev/null || chown mosquitto: /etc/mosquitto/edge-qc.acl
    chmod 0640 /etc/mosquitto/edge-qc.acl
    install -D -m 0644 "$root/systemd/edge-qc.service" /etc/systemd/system/edge-qc.service
}

start_services() {
    if ! command -v systemctl >/dev/null; then
        say "no systemd on this system: nothing will start edge-qc but you"
        return
    elif [ ! -d /run/systemd/system ]; then
        # Enabling is only a link, so an image that is being prepared boots into a running line.
        systemctl --quiet enable mosquitto edge-qc
        say "systemd is not running here: edge-qc starts at the next boot"
        return
    fi
    systemctl daemon-reload
    systemctl --quiet enable mosquitto edge-qc
    systemctl restart mosquitto || die "Mosquitto does not start. See: journalctl -u mosquitto -n 20"
    # No camera yet is no fault of the installation: systemd tries again each second.
    if systemctl restart edge-qc; then
        say "running: journalctl -fu edge-qc"
    else
        say "edge-qc does not start yet, and goes on trying. See: journalctl -u edge-qc -n 20; $prefix/bin/edge-qc check"
    fi
}

check_machine
install_packages
create_user
install_program
install_files
start_services
say "installed $($prefix/bin/edge-qc --version). Set the camera in /etc/edge-qc/config.yaml, then: systemctl restart edge-qc"
