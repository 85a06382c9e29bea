#!/usr/bin/env bash
# Builds loadgen from the sources that this action came with, once for each state of them.
# usage: install.sh key     tells the workflow what to cache, and under which key
#        install.sh build   builds unless the cache had it, and puts it on the path
set -euo pipefail

root=$(cd "$(dirname "$0")/../../.." && pwd)
into=${RUNNER_TEMP:?this runs in a GitHub workflow}/drainproof

case ${1:-} in
key)
    # An action's sources come without .git, so what they hold has to say which they are.
    key=$(cd "$root" && find Cargo.toml Cargo.lock server loadgen manifests reports -path '*/published/*' -prune -o -path '*/runs/*' -prune -o -type f -print0 |
        LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -c1-32)
    {
        echo "key=$key-$(rustc --version | tr -c 'A-Za-z0-9.\n' -)"
        echo "directory=$into"
    } >>"$GITHUB_OUTPUT"
    ;;
build)
    if [ ! -x "$into/bin/loadgen" ]; then
        cargo install --locked --quiet --path "$root/loadgen" --root "$into" --target-dir "$RUNNER_TEMP/drainproof-build"
    fi
    echo "$into/bin" >>"$GITHUB_PATH"
    ;;
*)
    echo "usage: install.sh key|build" >&2
    exit 2
    ;;
esac
