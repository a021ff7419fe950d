#!/usr/bin/env bash
# Runs the camera tests where there is a camera: boots Debian 12's kernel in QEMU, loads its virtual camera (vivid), and
# runs tests/contract and tests/vm in it. As root, on Debian or Ubuntu: tests/vm/run.sh [PYTEST OPTION...]. Not part of
# make test: about ten minutes the first time, five after that on an idle machine, for the guest is emulated (no KVM).
#   VM_DIR         where the system is kept between runs; default /tmp/edge-qc-vm, 3 GB
#   VM_MIRROR      Debian mirror for debootstrap
#   VM_TIMEOUT_S   until the machine is taken to hang; default 2400
# PIP_* variables are passed on.
set -euo pipefail

source=$(cd "$(dirname "$0")/../.." && pwd)
vm=${VM_DIR:-/tmp/edge-qc-vm}
# shellcheck source=deploy/lib.sh
. "$source/deploy/lib.sh"
mkdir -p "$vm"
for program in qemu-system-x86_64 debootstrap mke2fs; do
    command -v "$program" >/dev/null || need_packages "$program is missing" qemu-system-x86 debootstrap e2fsprogs
done

if [ ! -e "$vm/system.img" ]; then
    if [ ! -e "$vm/root/.complete" ]; then
        say "making a Debian 12 in $vm/root"
        packages=linux-image-amd64,udev,kmod,v4l-utils,python3,mosquitto
        rm -rf --one-file-system "$vm/root"
        debootstrap --variant=minbase --include="$packages" bookworm "$vm/root" ${VM_MIRROR:+"$VM_MIRROR"} \
            >"$vm/debootstrap.log" || die "debootstrap failed: see $vm/debootstrap.log"
        touch "$vm/root/.complete"
    fi
    say "installing the device's packages and pytest for its Python"
    make_venv "$vm/venv"
    rm -rf "$vm/root/opt/site"
    # --target: wheels for this machine's Python, which must be the guest's (3.11) or they are asked for by version.
    "$vm/venv/bin/python" - "$source/pyproject.toml" >"$vm/requirements.txt" <<'PYTHON'
import sys, tomllib
project = tomllib.load(open(sys.argv[1], "rb"))["project"]
print("\n".join([*project["dependencies"], "pytest", "pytest-timeout", "hypothesis"]))
PYTHON
    "$vm/venv/bin/python" -m pip install -qq --python-version 3.11 --only-binary :all: --target "$vm/root/opt/site" \
        -r "$vm/requirements.txt"
    printf '#!/bin/sh\nmount -o ro /dev/sdb /mnt && exec /bin/sh /mnt/tests/vm/init.sh\n' >"$vm/root/edge-qc-init"
    chmod +x "$vm/root/edge-qc-init"
    say "making its disk"
    mke2fs -q -t ext4 -d "$vm/root" "$vm/system.part" 4G >/dev/null
    mv "$vm/system.part" "$vm/system.img"
fi

rm -rf "$vm/tree" && mkdir "$vm/tree"
tar -C "$source" --exclude=__pycache__ -cf - edge tests config.yaml pyproject.toml | tar -C "$vm/tree" -xf -
printf '%q ' "$@" >"$vm/tree/pytest-options"
rm -f "$vm/tree.img"
mke2fs -q -t ext4 -d "$vm/tree" "$vm/tree.img" 256M >/dev/null

# no_timer_check: a busy host starves the emulated timer, and the kernel would take it for broken.
say "booting; the console goes to $vm/console.log"
timeout "${VM_TIMEOUT_S:-2400}" qemu-system-x86_64 \
    -accel tcg,thread=multi -cpu max -smp 2 -m 2048 -nographic -no-reboot -net none -snapshot \
    -drive "file=$vm/system.img,format=raw" -drive "file=$vm/tree.img,format=raw" \
    -kernel "$(ls "$vm"/root/boot/vmlinuz-*)" -initrd "$(ls "$vm"/root/boot/initrd.img-*)" \
    -append "root=/dev/sda rw console=ttyS0 quiet panic=-1 no_timer_check init=/edge-qc-init" </dev/null \
    >"$vm/console.log" 2>&1 || die "QEMU ended badly, or not at all: $vm/console.log"
sed -n '/^edge-qc in the machine/,$p' "$vm/console.log" | tr -d '\r'
grep -q '^edge-qc in the machine: exit 0' "$vm/console.log"
