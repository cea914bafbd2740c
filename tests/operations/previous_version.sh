#!/usr/bin/env bash
# previous_version.sh: builds the programs of the version that tests/operations/previous_version names, once, and prints
# where they are. Most of what it compiles ccache has already, from the build of this version.
#
# Exit 3: that commit is not in this clone, which has no history or not enough of it.
set -euo pipefail
top="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
commit="$(grep -v '^#' "$top/tests/operations/previous_version")"
place="$top/.cache/previous/$commit"
programs=(extractor transformer loader control tributary)

if [[ ! -e $place/.complete ]]; then
  git -C "$top" cat-file -e "$commit^{commit}" 2>/dev/null || {
    echo "commit $commit is not in this clone; to fix: git fetch --unshallow" >&2
    exit 3
  }
  export CCACHE_DIR="${CCACHE_DIR:-$top/.cache/ccache}"
  rm -rf "$place"
  mkdir -p "$place/source"
  git -C "$top" archive "$commit" | tar -x -C "$place/source"
  # The same flags as the programs that it is mixed with, or nothing is found in the cache.
  (cd "$place/source" && cmake --preset release && cmake --build build/release -j "$(nproc)" --target "${programs[@]}") \
    >"$place/build.log" 2>&1 || {
    tail -n 20 "$place/build.log" >&2
    echo "the previous version does not build: see $place/build.log" >&2
    exit 1
  }
  mkdir "$place/bin"
  for program in "${programs[@]}"; do strip -o "$place/bin/$program" "$place/source/build/release/bin/$program"; done
  cp -r "$place/source/libs/connector/files" "$place/connector_files"
  rm -rf "$place/source"
  touch "$place/.complete"
fi
echo "$place/bin"
