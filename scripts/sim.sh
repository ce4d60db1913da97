#!/usr/bin/env bash
# The simulator: builds it where needed, and hands everything on. scripts/sim.sh --help · `make sim SEED=7 TRACE=1`
#   scripts/sim.sh run --seed 7 --trace      one seed
#   scripts/sim.sh sweep --seeds 1000        many
#   scripts/sim.sh scenario NAME             a named history
#   scripts/sim.sh mutants [NAMES]           the known bugs, each until it is caught
#   scripts/sim.sh test [ARGUMENTS]          its tests, by cargo-nextest where there is one
# Exit code of `run`, `scenario` and `mutants`: 0 everything held, 1 something was violated. (make gives 2 for 1.)
set -euo pipefail
cd "$(dirname "$0")/.."

# Runtimes are seeded under this flag alone, and so it has a target directory of its own.
export RUSTFLAGS="--cfg tokio_unstable"
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target/sim}
cargo=${CARGO:-cargo}
flags=(--locked --test sim --features mutants)

if [ "${1:-}" = test ]; then
    shift
    if "$cargo" nextest --version >/dev/null 2>&1; then
        exec "$cargo" nextest run "${flags[@]}" --cargo-profile sim "$@"
    fi
    exec "$cargo" test "${flags[@]}" --profile sim -- "$@"
fi
built=$("$cargo" test "${flags[@]}" --profile sim --no-run --message-format json-render-diagnostics)
program=$(grep -o '"executable":"[^"]*/sim-[^"]*"' <<<"$built" | tail -1 | cut -d'"' -f4)
exec "$program" "$@"
