#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Makes the pictures beside this script: the real daemon on a private bus, real traffic over loopback, the
# real window on an X server without a screen. Needs root, the development build (cargo build --workspace),
# Xvfb, import and convert (imagemagick), xdotool, dunst, curl, msgfmt, localedef with the German locale, and python3.
# Takes seven minutes, as the traffic fills two minutes and the two before. Leaves nothing behind but the pictures.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
bin=${CARGO_TARGET_DIR:-$top/target}/debug
dir=$(mktemp -d /tmp/picosnitch-pictures.XXXXXX)
pids=()
made=()
cleanup() {
	trap - EXIT
	local index
	for ((index = ${#pids[@]} - 1; index >= 0; index--)); do
		kill "${pids[index]}" 2>/dev/null || true
		wait "${pids[index]}" 2>/dev/null || true
	done
	rm -rf -- "$dir" "${made[@]}"
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
export XDG_DATA_DIRS=$dir/share:$top/data:/usr/local/share:/usr/share

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
for name in www.example.org cdn.example.net chat.example.com sync.example.net backup.example.org mail.example.org; do
	printf '127.0.2.%d %s\n' $number $name >>"$dir/hosts"
	number=$((number + 1))
done
# Where programs are installed; in a folder of our own they would be said to come from a temporary one. Their files are
# the machine's, so that the names below, which are in a mount namespace, do not make a container of them.
mkdir -p "$dir/share/applications"
entry() {
	local name=$1 title=$2 colour=$3 shape=$4
	mkdir "/opt/$name"
	made+=("/opt/$name")
	cp "$(command -v curl)" "/opt/$name/$name"
	printf '<svg xmlns="http://www.w3.org/2000/svg" width="48" height="48"><rect x="3" y="3" width="42" height="42" rx="11" fill="%s"/><path d="%s" fill="none" stroke="#fff" stroke-width="4" stroke-linecap="round" stroke-linejoin="round"/></svg>' \
		"$colour" "$shape" >"$dir/share/$name.svg"
	printf '[Desktop Entry]\nType=Application\nName=%s\nExec=/opt/%s/%s\nIcon=%s\n' \
		"$title" "$name" "$name" "$dir/share/$name.svg" >"$dir/share/applications/$name.desktop"
}
entry browser Browser '#2f6fd0' 'M24 12a12 12 0 1 0 .1 0M12 24h24M24 12c-8 7-8 17 0 24c8-7 8-17 0-24'
entry messenger Messenger '#2a9d6f' 'M13 15h22v15h-12l-6 5v-5h-4z'
entry synchroniser Synchroniser '#8a4fb5' 'M14 22a10 10 0 0 1 19-3v-6M34 26a10 10 0 0 1-19 3v6'
entry mail Mail '#d9822b' 'M12 16h24v17h-24zM12 17l12 9l12-9'
entry backup Backup '#b5443a' 'M24 13v18M16 24l8 8l8-8M13 36h22'
cat >"$dir/server.py" <<'PYTHON'
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass
    def do_GET(self):
        left = int(self.path[1:])
        self.send_response(200)
        self.send_header("content-length", str(left))
        self.end_headers()
        while left > 0:
            self.wfile.write(bytes(min(left, 65536)))
            left -= 65536
    def do_PUT(self):
        left = int(self.headers.get("content-length", 0))
        while left > 0:
            left -= len(self.rfile.read(min(left, 65536)))
        self.send_response(204)
        self.end_headers()
http.server.ThreadingHTTPServer(("0.0.0.0", 8080), Handler).serve_forever()
PYTHON
start server python3 "$dir/server.py"
wait_for curl -s -o /dev/null http://127.0.0.1:8080/1
for size in 400 1500 4000; do head -c ${size}000 /dev/urandom >"$dir/www/$size"; done
cat >"$dir/mounts.sh" <<'MOUNTS'
mount --bind "$1/hosts" /etc/hosts
shift
cd /
exec "$@"
MOUNTS
# The same sizes and pauses each time: $RANDOM is seeded.
cat >"$dir/traffic.sh" <<'TRAFFIC'
end=$2 late=$3 up=$1/www
busy() { [ "$(date +%s)" -lt "$end" ]; }
rate() { echo $(($1 + RANDOM % $2))K; }
get() { "/opt/$1/$1" -s -o /dev/null --limit-rate "$4" "http://$2:8080/$3"; }
put() { "/opt/$1/$1" -s -o /dev/null --limit-rate "$4" -T "$3" "http://$2:8080/"; }
(RANDOM=1; while busy; do get browser www.example.org $((RANDOM * 40)) "$(rate 300 500)"; sleep 1; done) &
(RANDOM=2; while busy; do get browser cdn.example.net $((RANDOM * 150)) "$(rate 400 900)"; sleep $((RANDOM % 4)); done) &
(RANDOM=3; while busy; do get messenger chat.example.com $((RANDOM * 12)) "$(rate 80 120)"; sleep $((1 + RANDOM % 3)); done) &
(RANDOM=4; while busy; do put synchroniser sync.example.net "$up/1500" "$(rate 250 350)"; sleep $((RANDOM % 9)); done) &
(RANDOM=5; while busy; do get mail mail.example.org $((RANDOM * 30)) "$(rate 100 300)"; sleep $((4 + RANDOM % 8)); done) &
(while [ "$(date +%s)" -lt "$late" ]; do sleep 1; done; put backup backup.example.org "$up/4000" 450K) &
wait
TRAFFIC
# Two whole minutes, and the two before.
minute=$(($(date +%s) / 60 * 60 + 60))
end=$((minute + 240))
# As an account that does nothing else, so that the pictures show nothing else of this machine.
user=games
unshare --mount --propagation private bash "$dir/mounts.sh" "$dir" setpriv --reuid="$user" --clear-groups \
	bash "$dir/traffic.sh" "$dir" $((end + 2)) $((end - 75))

start x Xvfb -displayfd 3 -screen 0 1180x780x24 3>"$dir/display"
wait_for test -s "$dir/display"
DISPLAY=:$(cat "$dir/display")
export DISPLAY
start session dbus-daemon --session --nofork --nopidfile --address="unix:path=$dir/session"
wait_for test -S "$dir/session"
export DBUS_SESSION_BUS_ADDRESS=unix:path=$dir/session
mkdir -p "$HOME/.config/dunst"
printf '[global]\nmarkup = full\nshow_indicators = no\nfont = sans 10\nwidth = 420\nicon_path = %s\n[urgency_normal]\ntimeout = 60\n' \
	"$top/data/icons/hicolor/scalable/apps" >"$HOME/.config/dunst/dunstrc"
start toasts dunst
window() { xdotool search --onlyvisible --name picosnitch | tail -n 1; }
# Of the window, without the border that GTK draws where nobody manages windows.
picture() {
	sleep 3
	local WIDTH HEIGHT X Y
	eval "$(xdotool getwindowgeometry --shell "${2:-$(window)}")"
	import -window root "$dir/root.png"
	convert "$dir/root.png" -crop "$((WIDTH - 10))x$((HEIGHT - 10))+$((X + 5))+$((Y + 5))" +repage "$here/$1.png"
	echo "made $1.png"
}
gui() {
	mkdir -p "$HOME/.config/picosnitch"
	printf '[window]\nwidth=%d\nheight=%d\n' "$1" "$2" >"$HOME/.config/picosnitch/window.ini"
	shift 2
	start window "$bin/picosnitch-gui" --filter "user:$user" "$@"
	wait_for window
	sleep 3
	# The last two fields of the menu of times: From, To and the button that shows it are at its end.
	xdotool key ctrl+t
	sleep 1
	xdotool key shift+Tab shift+Tab shift+Tab
	xdotool type "$(date -d "@$((end - 120))" '+%Y-%m-%d %H:%M')"
	xdotool key Tab
	xdotool type "$(date -d "@$end" '+%Y-%m-%d %H:%M')"
	xdotool key Return
	sleep 3
}
ungui() {
	kill "${pids[-1]}"
	wait "${pids[-1]}" 2>/dev/null || true
	unset 'pids[-1]'
}
gui 1120 760
xdotool mousemove 760 330
picture overview
xdotool mousemove 600 740
for page in programs destinations timeline live health; do
	"$bin/picosnitch-gui" --page $page
	picture $page
done
id=$("$bin/picosnitch" --json executables 2>/dev/null | grep -m1 '/opt/browser/browser' | sed -E 's/.*"id":([0-9]+).*/\1/' || true)
"$bin/picosnitch-gui" --program "${id:-1}"
picture program
main=$(window)
"$bin/picosnitch-gui" --page settings
sleep 2
# The one that was not there before.
picture settings "$(xdotool search --onlyvisible --class picosnitch | grep -vx "$main" | tail -n 1)"
ungui
gui 360 720
xdotool mousemove 200 700
picture narrow
ungui
ADW_DEBUG_COLOR_SCHEME=prefer-dark gui 1120 760
xdotool mousemove 600 740
picture overview-dark
"$bin/picosnitch-gui" --program "${id:-1}"
picture program-dark
ungui
mkdir -p "$dir/locale" "${bin%/*}/share/locale/de/LC_MESSAGES"
localedef --no-archive -i de_DE -f UTF-8 "$dir/locale/de_DE.UTF-8" || [ -d "$dir/locale/de_DE.UTF-8" ]
msgfmt -o "${bin%/*}/share/locale/de/LC_MESSAGES/picosnitch.mo" "$top/data/po/de.po"
LOCPATH=$dir/locale LC_ALL=de_DE.UTF-8 gui 1120 760
xdotool mousemove 600 740
picture german
ungui
start tray "$bin/picosnitch-tray" --announce-at-once
sleep 3
toast() { xdotool search --onlyvisible --class dunst | tail -n 1; }
# What waited from before is told first.
entry assistant Assistant '#c2478e' 'M24 12v24M12 24h24'
unshare --mount --propagation private bash "$dir/mounts.sh" "$dir" /opt/assistant/assistant -s -o /dev/null http://www.example.org:8080/2000
sleep 4
wait_for toast
import -window "$(toast)" "$here/toast.png"
echo "made toast.png"
