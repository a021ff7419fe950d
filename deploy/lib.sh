# shellcheck shell=bash
# Shared by the Makefile, install.sh and uninstall.sh (bash). Everything that touches the system's packages stands here.

say() { printf 'edge-qc: %s\n' "$*"; }

die() {
    printf 'edge-qc: %s\n' "$*" >&2
    exit 1
}

# The newest Python that TensorFlow, too, has wheels for. PYTHON overrides. Each is tried, not only looked up: version
# managers put names on the PATH that run nothing.
find_python() {
    local candidate
    for candidate in ${PYTHON:-python3.13 python3.12 python3.11 python3}; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    die "expected Python 3.11 or later, got none among: ${PYTHON:-python3.13 python3.12 python3.11 python3}." \
        "Install one (Debian 12: apt-get install python3 python3-venv), or set PYTHON=/path/to/python3"
}

# need_packages WHY PACKAGE...: through apt-get as root, else through sudo where it asks no password, else one line.
need_packages() {
    local why=$1 as_root=()
    shift
    command -v apt-get >/dev/null || die "$why. This system has no apt-get: install what it calls $*"
    if [ "$(id -u)" -ne 0 ]; then
        sudo -n true 2>/dev/null || die "$why. Run: sudo apt-get install $*"
        as_root=(sudo -n)
    fi
    say "$why: installing $*"
    # An index that is out of date is no fault yet: the package may be in it.
    "${as_root[@]}" apt-get update -qq || say "apt-get update failed; trying with the index that is here"
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "$@" >/dev/null ||
        die "apt-get install $* failed (see above). Check the network and /etc/apt, then run this again"
}

# make_venv FOLDER: a virtual environment with pip; one that is there and works is kept.
make_venv() {
    local folder=$1 python
    "$folder/bin/python" -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && return
    python=$(find_python) || exit 1
    # Debian keeps ensurepip in a package of its own; without it `python3 -m venv` fails halfway.
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        need_packages "$python cannot make virtual environments" \
            "$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
    "$python" -m venv --clear "$folder" || die "$python -m venv $folder failed (see above)"
}

# pip_install VENV WHAT...: quiet but for errors; the pip that came with Python will do.
pip_install() {
    local venv=$1
    shift
    "$venv/bin/python" -m pip install -qq --disable-pip-version-check "$@" ||
        die "pip install $* failed (see above). Check the network, and that the disk has room"
}
