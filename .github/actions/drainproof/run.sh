#!/usr/bin/env bash
# One run, as the action's inputs say, with loadgen's exit code. loadgen itself sees that it is in a workflow, and writes
# the step's summary, the annotations and the files for a CI.
set -euo pipefail

out=${INPUT_OUT:?where the reports go}
case $out in
*$'\n'*)
    echo "::error title=drainproof::the input out must be one line"
    exit 2
    ;;
esac

# `--flag=value` throughout: a value that begins with a dash stays a value.
arguments=("--out=$out" --no-progress)
each_line() {
    local flag=$1 line
    # read takes the blanks around a line away.
    while read -r line; do
        if [ -n "$line" ]; then arguments+=("$flag=$line"); fi
    done <<<"$2"
}
one() {
    if [ -n "$2" ]; then arguments+=("$1=$2"); fi
}
one --scenario "${INPUT_SCENARIO:-}"
one --on "${INPUT_ON:-}"
one --command "${INPUT_COMMAND:-}"
one --repeat "${INPUT_REPEAT:-}"
one --baseline "${INPUT_BASELINE:-}"
one --max-time "${INPUT_MAX_TIME:-}"
each_line --set "${INPUT_SET:-}"
each_line --vary "${INPUT_VARY:-}"

code=0
loadgen run "${arguments[@]}" || code=$?
case $code in
0) verdict=pass ;;
3) verdict=fail ;;
4) verdict=inconclusive ;;
*) verdict=none ;;
esac
{
    echo "directory=$out"
    echo "exit-code=$code"
    echo "verdict=$verdict"
} >>"$GITHUB_OUTPUT"
exit "$code"
