#!/bin/sh
# msgspec 0.22.0: a Struct with eq=False and an __eq__ of its own.
# Seen: two such values are == and != at the same time: "True True".
# Surprise: Python makes != from a class's __eq__ where nothing else is defined, and a
# dataclass with eq=False behaves so; Struct brings a != of its own, by identity.
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/python" -m pip install -q --disable-pip-version-check msgspec==0.22.0 2>/dev/null
cat > "$tmp/try.py" <<'PY'
import dataclasses

import msgspec


class Both(msgspec.Struct, eq=False):
    number: int

    def __eq__(self, other):
        return self.number == other.number


@dataclasses.dataclass(eq=False)
class One:
    number: int

    def __eq__(self, other):
        return self.number == other.number


print(Both(1) == Both(1), Both(1) != Both(1))
print(One(1) == One(1), One(1) != One(1))
PY
out=$("$tmp/venv/bin/python" "$tmp/try.py")
echo "$out"
[ "$out" = "True True
True False" ] || exit 1
