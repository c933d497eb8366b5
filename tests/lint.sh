#!/usr/bin/env bash
# clang-format over all C++, clang and clang-tidy over everything that ships; any finding is an error. Usage: tests/lint.sh [JOBS]
set -euo pipefail
cd "$(dirname "$0")/.."
find lib agent bundle-tool tests \( -name '*.cpp' -o -name '*.hpp' \) -print0 | xargs -0 clang-format-14 --dry-run -Werror
cmake --preset lint > /dev/null
find lib agent bundle-tool -name '*.cpp' -print0 | sort -z |
  xargs -0 -n 4 -P "${1:-$(nproc)}" clang-tidy-14 --quiet -p build/lint 2> >(grep -vE '^[0-9]+ warnings? generated\.$|^Suppressed' >&2)
echo "lint: no findings"
