#!/usr/bin/env bash
# Everything a change must pass, in the order of how soon it tells: form, lints, tests, documentation, scripts.
# From anywhere: scripts/check.sh. Stops at the first failure and says which step it was.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

step=
trap '[ -z "$step" ] || echo "check.sh: failed in: $step" >&2' EXIT

run() {
    step="$*"
    printf '\n== %s\n' "$step"
    "$@"
}

run cargo fmt --all --check
run cargo clippy --workspace --all-targets --quiet -- -D warnings
run cargo test --workspace --quiet
# Private items are documented too, so a link to one leads somewhere.
RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" run cargo doc --workspace --no-deps --document-private-items --quiet
if command -v shellcheck >/dev/null; then
    run shellcheck scripts/*.sh .ci/run
else
    echo "SKIPPED: shellcheck is not installed"
fi
step=
printf '\nAll checks passed.\n'
