#!/bin/sh
# Builds the Node SDK and runs its tests; exit code 77 and one line where node or its packages are missing.
cd "$(dirname "$0")/.." || exit 1
command -v node >/dev/null || { echo "skipped: no node: apt-get install nodejs npm"; exit 77; }
[ -d node_modules ] || { echo "skipped: no sdk/node/node_modules: npm --prefix sdk/node ci"; exit 77; }
node node_modules/typescript/bin/tsc && exec node --test dist/test/*.test.js
