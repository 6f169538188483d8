#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Makes the pictures beside this script: the real daemon on a private bus, real traffic over loopback, the
# real window on an X server without a screen. Needs root, the development build (cargo build --workspace),
# Xvfb, import and convert (imagemagick), xdotool, curl and python3. Leaves nothing behind but the pictures.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
bin=${CARGO_TARGET_DIR:-$top/target}/debug
dir=$(mktemp -d /tmp/picosnitch-pictures.XXXXXX)
pids=()
cleanup() {
	trap - EXIT
	local index
	for ((index = ${#pids[@]} - 1; index >= 0; index--)); do
		kill "${pids[index]}" 2>/dev/null || true
		wait "${pids[index]}" 2>/dev/null || true
	done
	rm -rf -- "$dir"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

start() {
	local log=$1
	shift
	"$@" </dev/null >"$dir/$log.log" 2>&1 &
	pids+=($!)
}
wait_for() {
	local tries
	for ((tries = 0; tries < 200; tries++)); do
		"$@" >/dev/null 2>&1 && return
		sleep 0.1
	done
	echo "make.sh: waited in vain for: $*" >&2
	return 1
}

export HOME=$dir/home XDG_RUNTIME_DIR=$dir/run GSK_RENDERER=cairo
unset WAYLAND_DISPLAY XDG_CONFIG_HOME XDG_STATE_HOME XDG_DATA_HOME
chmod 755 "$dir"
mkdir -p "$HOME" "$dir/www" "$dir/opt"
mkdir -m 700 "$XDG_RUNTIME_DIR"
# Icons as they are installed.
export XDG_DATA_DIRS=$top/data:/usr/local/share:/usr/share

sed -e "s|@SOCKET@|$dir/bus|" -e "s|@POLICY@|$top/dbus-policy/org.picosnitch.Monitor.conf|" \
	"$top/data/private-bus.conf" >"$dir/bus.conf"
start bus dbus-daemon --config-file="$dir/bus.conf" --nofork --nopidfile
wait_for test -S "$dir/bus"
export DBUS_SYSTEM_BUS_ADDRESS=unix:path=$dir/bus
printf '[database]\nwrite_interval_seconds = 1\n' >"$dir/config.toml"
chmod 600 "$dir/config.toml"
start daemon "$bin/picosnitchd" --config "$dir/config.toml" --state-dir "$dir/state" --log-dir "$dir/log"
wait_for "$bin/picosnitch" status

# Programs and names as somebody could have them; the traffic is real.
printf '127.0.0.1 localhost\n' >"$dir/hosts"
number=1
for name in www.example.org cdn.example.net chat.example.com sync.example.net backup.example.org deb.example.org; do
	printf '127.0.2.%d %s\n' $number $name >>"$dir/hosts"
	number=$((number + 1))
done
for name in browser messenger synchroniser backup mail; do
	mkdir "$dir/opt/$name"
	cp "$(command -v curl)" "$dir/opt/$name/$name"
done
head -c 24000000 /dev/urandom >"$dir/www/large"
head -c 700000 /dev/urandom >"$dir/www/page"
cat >"$dir/server.py" <<'PYTHON'
import http.server, os, sys
class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass
    def do_PUT(self):
        left = int(self.headers.get("content-length", 0))
        while left > 0:
            left -= len(self.rfile.read(min(left, 65536)))
        self.send_response(204)
        self.end_headers()
os.chdir(sys.argv[1])
http.server.ThreadingHTTPServer(("127.0.0.1", 8080), Handler).serve_forever()
PYTHON
sed -i 's/("127.0.0.1", 8080)/("0.0.0.0", 8080)/' "$dir/server.py"
start server python3 "$dir/server.py" "$dir/www"
wait_for curl -s -o /dev/null http://127.0.0.1:8080/page
cat >"$dir/mounts.sh" <<'MOUNTS'
mount --bind "$1/hosts" /etc/hosts
mount --bind "$1/opt" /opt
shift
cd /
exec "$@"
MOUNTS
cat >"$dir/traffic.sh" <<'TRAFFIC'
get() { "$1" -s -o /dev/null "http://$2:8080/$3"; }
put() { "$1" -s -o /dev/null -T "$1" "http://$2:8080/"; }
for turn in 1 2 3 4 5 6 7 8 9 10 11 12; do
	get /opt/browser/browser www.example.org page
	[ $((turn % 3)) = 0 ] || get /opt/browser/browser cdn.example.net large
	get /opt/messenger/messenger chat.example.com page
	put /opt/synchroniser/synchroniser sync.example.net
	get /opt/mail/mail www.example.org page
	if [ $((turn % 4)) = 0 ]; then "/opt/backup/backup" -s -o /dev/null -T "$1/www/large" http://backup.example.org:8080/; fi
	sleep 2
done
TRAFFIC
# As an account that does nothing else, so that the pictures show nothing else of this machine.
user=games
unshare --mount --propagation private bash "$dir/mounts.sh" "$dir" setpriv --reuid="$user" --clear-groups bash "$dir/traffic.sh" "$dir"

start x Xvfb -displayfd 3 -screen 0 1180x780x24 3>"$dir/display"
wait_for test -s "$dir/display"
DISPLAY=:$(cat "$dir/display")
export DISPLAY
start session dbus-daemon --session --nofork --nopidfile --address="unix:path=$dir/session"
wait_for test -S "$dir/session"
export DBUS_SESSION_BUS_ADDRESS=unix:path=$dir/session
window() { xdotool search --onlyvisible --name picosnitch | tail -n 1; }
picture() {
	sleep 3
	import -window root "$dir/root.png"
	convert "$dir/root.png" -crop 1120x720+0+0 +repage "$here/$1.png"
	echo "made $1.png"
}
start window "$bin/picosnitch-gui" --filter "user:$user"
wait_for window
sleep 3
xdotool key ctrl+t
sleep 1
# The first preset: the last hour.
xdotool key Return
sleep 3
# Drag over its end.
xdotool mousemove 1052 320 mousedown 1 mousemove 1060 320 mousemove 1070 321 mousemove 1083 321 mouseup 1
sleep 2
xdotool mousemove 900 330
picture overview
xdotool mousemove 600 700
for page in programs destinations timeline live; do
	"$bin/picosnitch-gui" --page $page
	picture $page
done
id=$("$bin/picosnitch" --json executables 2>/dev/null | grep -m1 '/opt/browser/browser' | sed -E 's/.*"id":([0-9]+).*/\1/' || true)
"$bin/picosnitch-gui" --program "${id:-1}"
picture program
kill "${pids[-1]}"
wait "${pids[-1]}" 2>/dev/null || true
unset 'pids[-1]'
export ADW_DEBUG_COLOR_SCHEME=prefer-dark
start dark "$bin/picosnitch-gui" --filter "user:$user"
wait_for window
sleep 3
xdotool key ctrl+t
sleep 1
xdotool key Return
sleep 3
xdotool mousemove 1040 320 mousedown 1 mousemove 1060 320 mousemove 1070 321 mousemove 1083 321 mouseup 1
sleep 2
xdotool mousemove 600 715
picture overview-dark
"$bin/picosnitch-gui" --program "${id:-1}"
picture program-dark
