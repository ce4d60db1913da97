#!/bin/sh
# Looks for what the build needs, and installs what it can. Optional tools are named and done without.
set -eu

fail() {
    echo "error: $*" >&2
    exit 1
}

command -v cargo >/dev/null 2>&1 ||
    fail "cargo is missing: install Rust with rustup (rust-toolchain.toml names the version)"

if ! command -v cc >/dev/null 2>&1; then
    echo "no C linker (cc) found: trying to install gcc"
    if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; then
        apt-get install -y -q gcc libc6-dev
    elif [ "$(id -u)" -eq 0 ] && command -v dnf >/dev/null 2>&1; then
        dnf install -y gcc
    elif [ "$(id -u)" -eq 0 ] && command -v apk >/dev/null 2>&1; then
        apk add gcc musl-dev
    fi
    command -v cc >/dev/null 2>&1 || fail "no C linker: install gcc or clang, so that \`cc\` is found"
fi
