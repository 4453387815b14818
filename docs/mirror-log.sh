#!/bin/sh
# Usage: mirror-log.sh URL FOLDER
# Copies the log that a gate serves, such as http://127.0.0.1:8444/log, with curl alone. Run it
# again to fetch what is new. Nothing is verified here: `gate ledger verify FOLDER` does that.
set -eu
[ $# = 2 ] || { echo "usage: mirror-log.sh URL FOLDER" >&2; exit 2; }
url=${1%/}
folder=$2
fresh=$folder.fetching
trap 'rm -f "$fresh"' EXIT

get() { # PATH: prints the status, leaves the content in $fresh
  curl --silent --show-error --compressed --write-out '%{http_code}' --output "$fresh" "$url/$1"
}

keep() { # PATH [absent]: fetches what is not here yet; some things may be absent
  [ ! -f "$folder/$1" ] || return 0
  status=$(get "$1")
  if [ "$status" = 404 ] && [ "${2:-}" = absent ]; then return 0; fi
  [ "$status" = 200 ] || { echo "$url/$1 answered $status" >&2; exit 1; }
  mkdir -p "$(dirname "$folder/$1")"
  mv "$fresh" "$folder/$1"
}

name() { # NUMBER: 1234067 is x001/x234/067
  rest=$(($1 / 1000))
  path=$(printf '%03d' $(($1 % 1000)))
  while [ "$rest" -gt 0 ]; do
    path=x$(printf '%03d' $((rest % 1000)))/$path
    rest=$((rest / 1000))
  done
  echo "$path"
}

mkdir -p "$folder"
status=$(get checkpoint)
[ "$status" = 200 ] || { echo "$url/checkpoint answered $status" >&2; exit 1; }
checkpoint=$(cat "$fresh")
size=$(printf '%s\n' "$checkpoint" | sed -n 2p)
level=0
count=$size
while [ "$count" -gt 0 ]; do
  number=0
  while [ $((number * 256)) -lt "$count" ]; do
    width=$((count - number * 256))
    tile=$(name "$number")
    [ "$width" -ge 256 ] || tile=$tile.p/$width
    keep "tile/$level/$tile"
    # Where the log was pruned there are hashes and no records.
    [ "$level" -gt 0 ] || keep "tile/entries/$tile" absent
    number=$((number + 1))
  done
  level=$((level + 1))
  count=$((count / 256))
done
printf '%s\n' "$checkpoint" >"$folder/checkpoint"
echo "$size records in $folder"
