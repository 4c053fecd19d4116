#!/bin/sh
# The tests of client/node against the real programs: tests/client_node.sh BUILD [FILE...]
# TAP. Fetches the packages that client/node/package-lock.json names into BUILD/node, once, and
# runs a copy of the package beside them: no folder of the repository gets a node_modules. Their
# own install scripts are not run; zeromq brings its compiled part along. FILEs are names in
# client/node/test; without any all run.
set -eu
cd "$(dirname "$0")/.."
build=${1:-build}
[ $# -eq 0 ] || shift
source=client/node
folder=$build/node

tests/npm.sh "$folder" "$source"
copy=$(mktemp -d "$folder/run.XXXXXX")
trap 'rm -rf "$copy"' EXIT
trap 'exit 1' INT TERM
cp -R "$source/." "$copy/"
SEEDPRESS_BUILD=${SEEDPRESS_BUILD:-$build}
export SEEDPRESS_BUILD
[ $# -gt 0 ] || set -- $(cd "$source/test" && ls *.test.js)
for file in "$@"; do                # in a row: each starts programs of its own
    node --test-reporter=tap "$copy/test/$file" || failed=1
done
exit "${failed:-0}"
