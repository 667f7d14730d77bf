#!/bin/sh
# git 2.39.5 (Debian): `git bundle verify` of half a bundle says that it is okay.
# Seen: the second half cut off (full disk, broken transfer) -> "is okay", exit 0, and
# list-heads 0; clone: "early EOF", 128.
# Surprise: git-bundle(1) says that verify checks "that a bundle file is valid" and
# "the bundle format itself"; it reads the header only, not the pack behind it, which
# has a checksum at its end.
set -eu
version=$(git --version); echo "$version"
case $version in *" 2.39.5") ;; *) exit 1 ;; esac
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
export GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.com
export GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.com
git init -q "$tmp/a"; cd "$tmp/a"
head -c 100000 /dev/urandom >data
git add data; git commit -qm one
git bundle create -q ../whole --all
head -c 50000 ../whole >../half
git bundle list-heads ../half || exit 1
git bundle verify ../half 2>&1 | tee ../out
grep -q 'half is okay' ../out && git bundle verify -q ../half || exit 1
status=0; git clone -q ../half ../b 2>../err || status=$?
grep 'early EOF' ../err; [ "$status" = 128 ]
