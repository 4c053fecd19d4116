#!/bin/sh
# Puts npm packages into FOLDER/node_modules, as LISTS/package-lock.json names them, once:
#     tests/npm.sh FOLDER LISTS
# Their own install scripts are not run. Two at a time wait for each other.
set -eu
here=$(cd "$2" && pwd)
folder=$1

fail() {
    echo "npm: $*" >&2
    exit 1
}

command -v node >/dev/null || fail "node is missing: deploy/packages.sh test installs it"
command -v npm >/dev/null || fail "npm is missing: deploy/packages.sh test installs it"
mkdir -p "$folder"
exec 9>"$folder/lock"
flock 9
cmp -s "$here/package-lock.json" "$folder/installed" && exit 0
rm -rf "$folder/node_modules" "$folder/installed"
cp "$here/package.json" "$here/package-lock.json" "$folder/"
(cd "$folder" && npm ci --ignore-scripts --omit=optional --no-audit --no-fund --loglevel=error) >&2 ||
    fail "npm ci could not fetch what $here/package-lock.json names; it needs a registry"
cp "$here/package-lock.json" "$folder/installed"
