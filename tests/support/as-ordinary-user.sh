#!/usr/bin/env bash
# as-ordinary-user.sh DAEMON SUITE...: runs test executables as a user who is nobody, as root. A suite is an executable,
# or one with filters behind it in the same word. The daemon and the tests are copied, because the target folder may lie in
# a home that is closed; /dev/fuse is opened to everybody in a mount namespace of our own. Nothing outside a temp folder
# is changed.
set -euo pipefail

readonly NOBODY=65534
daemon=$1
shift

if [ "${MUSICFS_TEST_NAMESPACE:-}" != own ]; then
  exec env MUSICFS_TEST_NAMESPACE=own unshare --mount --propagation private -- "$0" "$daemon" "$@"
fi

work=$(mktemp -d)
trap 'umount /dev/fuse 2>/dev/null || true; rm -rf "$work"' EXIT
chmod 0755 "$work"
mkdir "$work/home" "$work/tmp" "$work/cache"
chown "$NOBODY:$NOBODY" "$work/home" "$work/tmp" "$work/cache"
cp "$daemon" "$work/musicfs"
if [ "$(stat -c %a /dev/fuse)" != 666 ]; then
  mknod -m 0666 "$work/fuse" c 10 229
  mount --bind "$work/fuse" /dev/fuse
fi
left_out=${MUSICFS_SKIP_LOG:-/dev/null}
install -o "$NOBODY" -g "$NOBODY" -m 0644 /dev/null "$work/tmp/left-out"

status=0
for suite in "$@"; do
  read -r -a words <<<"$suite"
  name=$(basename "${words[0]}")
  name=${name%-*}
  cp "${words[0]}" "$work/$name"
  echo "as an ordinary user: $name ${words[*]:1}"
  (cd "$work/home" && exec setpriv --reuid="$NOBODY" --regid="$NOBODY" --clear-groups -- \
    env -u XDG_RUNTIME_DIR HOME="$work/home" TMPDIR="$work/tmp" MUSICFS_TEST_BINARY="$work/musicfs" \
    MUSICFS_TEST_CACHE="$work/cache" MUSICFS_SKIP_LOG="$work/tmp/left-out" MUSICFS_TEST_NAMESPACE= \
    "$work/$name" --test-threads=2 --quiet "${words[@]:1}") || status=$?
  rm "$work/$name"
done
sed 's/^/as an ordinary user: /' "$work/tmp/left-out" >>"$left_out"
exit "$status"
