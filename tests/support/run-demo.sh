#!/usr/bin/env bash
# `make run`: a library in ./run, mounted until Ctrl-C or `musicfs stop`.
#
# Everything is below ./run: music (a demo library, unless MUSIC names a folder), library (the mount), data, the socket
# and the configuration. Works again after a kill -9: the daemon clears its own dead mount.
set -euo pipefail

binary=$(realpath "$1")
mkdir -p run
run=$(realpath run)
mkdir -p "$run/data"
# A dead mount would make mkdir fail; the daemon clears it when it starts.
[ -d "$run/library" ] || mkdir "$run/library" 2>/dev/null || true

say() { printf '%s\n' "$*"; }

# One short track: folder, file name, encoder, artist, album, year, number, title, tone. The cover is embedded where the
# container takes a picture stream.
track() {
  local folder=$1 file=$2 codec=$3 artist=$4 album=$5 year=$6 number=$7 title=$8 tone=$9
  local args=(-f lavfi -i "sine=frequency=$tone:duration=3") art=()
  case $file in
    *.flac | *.mp3 | *.m4a)
      args+=(-i "$demo/cover.jpg")
      art=(-map 0:a -map 1:v -c:v copy -disposition:v attached_pic)
      ;;
  esac
  mkdir -p "$demo/$folder"
  ffmpeg -hide_banner -loglevel error -nostdin -y "${args[@]}" ${art[@]+"${art[@]}"} -c:a "$codec" \
    -metadata artist="$artist" -metadata album="$album" -metadata date="$year" \
    -metadata track="$number" -metadata title="$title" "$demo/$folder/$file"
}

make_demo() {
  say "making a demo library with ffmpeg in $run/music"
  demo=$run/music.new
  rm -rf "$demo"
  mkdir -p "$demo"
  ffmpeg -hide_banner -loglevel error -nostdin -y -f lavfi -i "testsrc=size=300x300" -frames:v 1 -q:v 4 "$demo/cover.jpg"
  local n=0 title
  for title in Morning Noon Evening Night; do
    n=$((n + 1))
    track "downloads" "rip $n.flac" flac "Ada Byron" "Engines" 2020 "$n/4" "$title" $((200 + 40 * n))
  done
  n=0
  for title in North East South West; do
    n=$((n + 1))
    track "old disk/mp3" "track$n.mp3" libmp3lame "The Compass" "Directions" 1998 "$n" "$title" $((300 + 40 * n))
  done
  n=0
  for title in Hydrogen Helium Lithium; do
    n=$((n + 1))
    track "new" "$n.ogg" libvorbis "Periodic" "Elements" 2011 "$n" "$title" $((400 + 40 * n))
  done
  track "new" "a.opus" libopus "Ada Byron" "Notes" 2023 1 "Note G" 500
  track "new" "b.opus" libopus "Ada Byron" "Notes" 2023 2 "Note A" 520
  track "phone" "a.m4a" aac "The Compass" "Pocket" 2015 1 "Needle" 540
  track "phone" "b.m4a" alac "The Compass" "Pocket" 2015 2 "Rose" 560
  track "field" "take.wav" pcm_s16le "Periodic" "Field Notes" 2019 1 "Wind" 580
  cp "$demo/cover.jpg" "$demo/new/cover.jpg"
  rm "$demo/cover.jpg"
  mv "$demo" "$run/music"
}

if [ -n "${MUSIC:-}" ]; then
  [ -d "$MUSIC" ] || { say "MUSIC=$MUSIC is not a folder" >&2; exit 2; }
  music=$(realpath "$MUSIC")
else
  [ -d "$run/music" ] || make_demo
  music=$run/music
fi

[ -e "$run/config.toml" ] || printf '# read by `make run`; see config.example.toml for the keys\n' >"$run/config.toml"
globals=(--config "$run/config.toml" --data-dir "$run/data" --socket "$run/control.sock")

# A session of its own: Ctrl-C then reaches this script only, which asks the daemon once to end in order. A second signal
# would make it end at once.
setsid "$binary" mount "$run/library" --origin "music=$music" "${globals[@]}" &
daemon=$!
end_daemon() { kill -TERM "$daemon" 2>/dev/null || true; }
trap end_daemon INT TERM EXIT

# A daemon that could not start never becomes ready: wait for whichever comes first.
"$binary" wait --for scanned --timeout 3600 "${globals[@]}" &
waiting=$!
first=0
wait -n "$waiting" "$daemon" || first=$?
if ! kill -0 "$daemon" 2>/dev/null; then
  kill "$waiting" 2>/dev/null || true
  say "the daemon has ended before the library was ready; what it said is above" >&2
  trap - EXIT
  [ "$first" -ne 0 ] || first=1
  exit "$first"
fi

if [ "$first" -eq 0 ]; then
  say "mounted at $run/library"
  say ""
  "$binary" tree "${globals[@]}" || true
  say ""
  "$binary" actors "${globals[@]}" || true
  say ""
  say "Ctrl-C ends it; so does, in another shell: $binary stop --socket $run/control.sock"
else
  kill "$waiting" 2>/dev/null || true
fi

# `wait` returns early when a signal comes: ask again until the daemon has ended.
status=0
while kill -0 "$daemon" 2>/dev/null; do
  status=0
  wait "$daemon" || status=$?
done
trap - EXIT
if grep -qs " $run/library fuse" /proc/mounts; then
  say "the mount is still there; remove it with: fusermount3 -uz $run/library" >&2
  exit 1
fi
# Above 128 is the signal that ended this script's waiting, not a failure of the daemon's.
[ "$status" -le 128 ] || status=0
exit "$status"
