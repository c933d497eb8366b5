#!/usr/bin/env bash
# Installs the packages of tests/packages.txt that are not there yet. Usage: tests/setup.sh [build|all]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
kinds='build|test'
[ "${1:-all}" = build ] && kinds='build'
mapfile -t wanted < <(sed -nE "s/^($kinds): //p" "$here/packages.txt" | tr ' ' '\n')
missing=()
for package in "${wanted[@]}"; do
  if ! dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed; then
    missing+=("$package")
  fi
done
# npm comes with some builds of nodejs, and as a package of its own with Debian's.
if [ "${1:-all}" = all ] && ! command -v npm > /dev/null; then
  missing+=(nodejs npm)
fi
if [ ${#missing[@]} -eq 0 ]; then
  echo "packages: all ${#wanted[@]} are installed"
  exit 0
fi
echo "packages: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
# Debian's engine starts by itself when installed; the tests start their own.
if [ ! -e /usr/sbin/policy-rc.d ]; then
  printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
  chmod 755 /usr/sbin/policy-rc.d
  trap 'rm -f /usr/sbin/policy-rc.d' EXIT
fi
apt-get update -q
apt-get install -q -y --no-install-recommends "${missing[@]}"
