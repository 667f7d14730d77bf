#!/bin/sh
# import-linter 2.17 (grimp 3.20): a forbidden contract whose source is a package
# and whose target is a module inside that package is KEPT whatever is imported.
# Here lib.a imports lib.b.  Seen: source lib.a -> BROKEN, exit 1;
# source lib (which covers lib.a) -> "x KEPT", exit 0.
# Surprise: the wider source forbids less, without the "shared descendants"
# error that one expects.
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check import-linter==2.17 grimp==3.20 2>/dev/null
mkdir "$tmp/lib"; cd "$tmp"
: > lib/__init__.py; : > lib/b.py; echo 'import lib.b' > lib/a.py
verdict() {
    printf '[importlinter]\nroot_package = lib\n[importlinter:contract:x]\nname = x\ntype = forbidden\nsource_modules = %s\nforbidden_modules = lib.b\n' "$1" > .importlinter
    status=0; PYTHONPATH=. venv/bin/lint-imports --no-cache > out 2>&1 || status=$?
    echo "source $1: $(grep -E '^x (KEPT|BROKEN)' out) exit $status"
}
narrow=$(verdict lib.a); wide=$(verdict lib)
echo "$narrow"; echo "$wide"
[ "$narrow" = "source lib.a: x BROKEN exit 1" ] || exit 1
[ "$wide" = "source lib: x KEPT exit 0" ] || exit 1
