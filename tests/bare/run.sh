#!/usr/bin/env bash
# Proves "two commands on a bare machine": a fresh clone of HEAD in a bare Debian 12, make demo, then make test.
# As root, with debootstrap: tests/bare/run.sh [TARGET...], default: demo test. Not part of make test.
#   BARE_TAR       a tarball of the bare system: made there if it does not exist, else unpacked (saves two minutes)
#   BARE_ETC       a folder laid over the system's root: apt sources, pip.conf, CA certificates of a closed network
#   BARE_BIND      folders of this machine that it shall see, read-only, blank between them: local package indexes
#   BARE_MIRROR    Debian mirror for debootstrap
# PIP_* variables are passed on.
set -euo pipefail

source=$(cd "$(dirname "$0")/../.." && pwd)
system=$(mktemp -d)
tarball=${BARE_TAR:-}
mounts=()
finish() {
    for mount in "${mounts[@]}"; do umount "$mount"; done
    rm -rf --one-file-system "$system"
}
trap finish EXIT

if [ -n "$tarball" ] && [ -f "$tarball" ]; then
    tar -C "$system" -xf "$tarball"
else
    debootstrap --variant=minbase --include=ca-certificates,git,make,python3 bookworm "$system" ${BARE_MIRROR:+"$BARE_MIRROR"}
    [ -z "$tarball" ] || tar -C "$system" -cf "$tarball" .
fi
[ -z "${BARE_ETC:-}" ] || cp -a "$BARE_ETC/." "$system/"
cp -L /etc/resolv.conf "$system/etc/resolv.conf"

bind() {
    mkdir -p "$system$1"
    mount --rbind --make-rslave ${2:+-o "$2"} "$1" "$system$1"
    mounts=("$system$1" "${mounts[@]}")
}
mount -t proc proc "$system/proc" && mounts=("$system/proc")
mount -t devpts devpts "$system/dev/pts" && mounts=("$system/dev/pts" "${mounts[@]}")
mount -t tmpfs tmpfs "$system/dev/shm" && mounts=("$system/dev/shm" "${mounts[@]}")
for folder in ${BARE_BIND:-}; do bind "$folder" ro; done

git clone --quiet --no-local "$source" "$system/root/edge-qc"
pass=(HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 CI=true)
while IFS= read -r variable; do pass+=("$variable"); done < <(env | grep '^PIP_' || true)

for target in "${@:-demo test}"; do
    for one in $target; do
        start=$SECONDS
        env -i "${pass[@]}" chroot "$system" make -C /root/edge-qc "$one" </dev/null
        echo "bare Debian 12: make $one: $((SECONDS - start)) s"
    done
done
