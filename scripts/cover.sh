#!/usr/bin/env bash
# Sums up what gcov counted: the share of lines that ran, a folder a line.
#
#   scripts/cover.sh BUILD          the build folder of VARIANT=cover, after its tests ran
set -euo pipefail
cd "$(dirname "$0")/.."

# gcov says of each source: File 'lib/base/buf.c', then Lines executed:97.30% of 111. Headers and tests are not counted.
find "$1" -name '*.gcno' -not -path "$1/tests/*" -print0 | xargs -0 gcov --no-output --relative-only 2>/dev/null | awk '
    /^File / { split($0, quoted, "\047"); file = quoted[2]; next }
    /^Lines executed:/ && file ~ /\.c$/ && file !~ /^\// {
        split($0, part, /[:% ]+/)
        folder = file
        sub(/\/[^\/]*$/, "", folder)
        lines[folder] += part[5]
        ran[folder] += part[3] * part[5] / 100
    }
    { file = "" }
    END {
        for (folder in lines) {
            printf "%-24s %6.1f %%  of %5d lines\n", folder, 100 * ran[folder] / lines[folder], lines[folder] | "sort"
            all += lines[folder]
            all_ran += ran[folder]
        }
        close("sort")
        printf "%-24s %6.1f %%  of %5d lines\n", "all", all ? 100 * all_ran / all : 0, all
    }'
