#!/usr/bin/env bash
# Everything that has to pass, on a fresh Debian 12 machine, as root: packages, build, tests under two
# compilers and the sanitizers, lint. Prints what it does; the last line is `N passed, N failed`.
# Usage: tests/run.sh [--slow]     --slow: also the tests with the label `slow`
set -uo pipefail
cd "$(dirname "$0")/.."
slow=(-LE slow)
[ "${1:-}" = --slow ] && slow=()
export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=1 CTEST_PARALLEL_LEVEL=2
log=build/logs
passed=0
failed=0
started=$SECONDS

say() { printf '\n== [%4ds] %s\n' $((SECONDS - started)) "$*"; }

# step NAME COMMAND...: its output goes to a file, and to the screen when it fails. Counts as one test.
step() {
  local name=$1
  shift
  say "$name"
  if "$@" > "$log/$name.log" 2>&1; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    tail -n 60 "$log/$name.log"
    echo "FAILED: $name (all of it: $log/$name.log)"
    return 1
  fi
}

# tests PRESET CTEST-ARGUMENTS...: adds CTest's own counts.
tests() {
  local preset=$1 total bad
  shift
  say "tests of build/$preset $*"
  ctest --test-dir "build/$preset" --output-on-failure "$@" 2>&1 | tee "$log/ctest-$preset.log" |
    grep -vE '^ *(Start +[0-9]+|Test +#[0-9]+.*Passed)' || true
  bad=$(sed -nE 's/^.* tests passed, ([0-9]+) tests failed out of ([0-9]+)$/\1/p' "$log/ctest-$preset.log")
  total=$(sed -nE 's/^.* tests passed, ([0-9]+) tests failed out of ([0-9]+)$/\2/p' "$log/ctest-$preset.log")
  passed=$((passed + ${total:-0} - ${bad:-0}))
  failed=$((failed + ${bad:-1}))  # no closing line: CTest itself did not get to its end
}

# build PRESET [TARGET]
build() {
  step "configure-$1" cmake --preset "$1" && step "build-$1" cmake --build --preset "$1" --target "${2:-all}"
}

# What the tests of the lab leave idle, these use: most of the time those wait for an engine.
quiet_work() {
  nice tests/lint.sh > "$log/lint.log" 2>&1
  echo $? > "$log/lint.status"
  { nice cmake --preset asan && nice cmake --build --preset asan --target unit_tests; } > "$log/build-asan.log" 2>&1
  echo $? > "$log/build-asan.status"
  { nice cmake --preset fuzz && nice cmake --build --preset fuzz --target fuzz_targets; } > "$log/build-fuzz.log" 2>&1
  echo $? > "$log/build-fuzz.status"
}

# What quiet_work said of NAME, as a step.
finished() {
  mv "$log/$1.log" "$log/quiet.log"
  step "$1" sh -c "cat $log/quiet.log; exit \$(cat $log/$1.status)"
}

mkdir -p "$log"
[ "$(id -u)" = 0 ] || { echo "run this as root: loop devices, mounts and an engine are needed"; exit 1; }
step packages tests/setup.sh all || exit 1
if build dev; then
  quiet_work &
  quiet=$!
  tests dev "${slow[@]}"
  say "lint, and the builds for the address sanitizer and the fuzz targets, have been running meanwhile"
  wait "$quiet"
  finished lint
  finished build-asan && tests asan -L unit
  build tsan thread_tests && tests tsan -L unit
  finished build-fuzz && step fuzz tests/fuzz/run.sh 20
fi
say "done in $((SECONDS - started)) s"
[ "$failed" -eq 0 ] && echo "PASS: everything passed" || echo "FAIL: see above"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
