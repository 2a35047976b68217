#!/usr/bin/env bash
# Runs libFuzzer programs, as many at a time as there are cores; fails when one of them finds something.
#
#   scripts/fuzz.sh SECONDS PROGRAM...
#
# What a program learns stays in .cache/corpus/<program>/, beside the seeds of tests/fuzz/corpus/<program>/; what made it fail is
# kept as .cache/findings/<program>-<kind>-<hash>.
set -euo pipefail
cd "$(dirname "$0")/.."

# One program: a line when all is well, the end of its log when not.
fuzz_one() {
    local seconds=$1 program=$2 name corpora log
    name=${program##*/}
    log=.cache/findings/$name.log
    corpora=(".cache/corpus/$name")
    mkdir -p "${corpora[0]}" .cache/findings
    [ ! -d "tests/fuzz/corpus/$name" ] || corpora+=("tests/fuzz/corpus/$name")
    if "$program" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 -verbosity=1 -print_final_stats=1 \
        -artifact_prefix=".cache/findings/$name-" "${corpora[@]}" >"$log" 2>&1; then
        printf '%-22s %s runs\n' "$name" "$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")"
        rm "$log"
    else
        printf '%-22s FAILED; the end of %s:\n%s\n' "$name" "$log" "$(tail -n 60 "$log")"
        return 1
    fi
}

if [ "${1-}" = --one ]; then
    fuzz_one "$2" "$3"
    exit
fi
[ $# -gt 1 ] || { echo "usage: scripts/fuzz.sh SECONDS PROGRAM..." >&2; exit 2; }
seconds=$1
shift
printf '%s\0' "$@" | xargs -0 -P "$(nproc)" -n 1 scripts/fuzz.sh --one "$seconds" ||
    { echo "fuzzing failed" >&2; exit 1; }
