#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# `make run`: builds the service, starts it and prints first connections as they happen, until Ctrl-C.
# Nothing is left behind. On the system bus if the policy is installed there, else on a private bus with
# the policy that is shipped. It is the development build, which is there sooner; `make` builds the fast one.
set -euo pipefail
cd "$(dirname "$0")"

say() { printf 'run: %s\n' "$*" >&2; }

if [ "${1:-}" != --built ]; then
	tests/setup.sh run
	say "building (the first time takes a few minutes)"
	cargo build -p picosnitchd -p picosnitch-relay -p picosnitch
	if [ "$(id -u)" != 0 ]; then
		say "the service needs root: going on with sudo"
		exec sudo -- "$PWD/run.sh" --built "${CARGO_TARGET_DIR:-target}"
	fi
	set -- --built "${CARGO_TARGET_DIR:-target}"
fi
bin=$2/debug

if "$bin/picosnitch" status >/dev/null 2>&1; then
	say "picosnitch runs on this machine already; this is what it says"
	exec "$bin/picosnitch" watch
fi

dir=$(mktemp -d /tmp/picosnitch-run.XXXXXX)
chmod 755 "$dir"
pids=()
cleanup() {
	trap - EXIT INT TERM HUP
	# The service first: it writes what it knows. The bus last.
	local index
	for ((index = ${#pids[@]} - 1; index >= 0; index--)); do
		kill "${pids[index]}" 2>/dev/null || true
		wait "${pids[index]}" 2>/dev/null || true
	done
	rm -rf -- "$dir"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# Starts something that Ctrl-C does not reach: cleanup ends it, in order.
background() {
	local log=$1
	shift
	setsid "$@" </dev/null >"$log" 2>&1 &
	pids+=($!)
}

# Waits until a command succeeds; gives up when the last started process has ended.
wait_for() {
	local tries
	for ((tries = 0; tries < 200; tries++)); do
		"$@" >/dev/null 2>&1 && return
		kill -0 "${pids[-1]}" 2>/dev/null || return 1
		sleep 0.1
	done
	return 1
}

policy=org.picosnitch.Monitor.conf
installed() { [ -e "/usr/share/dbus-1/system.d/$policy" ] || [ -e "/etc/dbus-1/system.d/$policy" ]; }

if [ -z "${DBUS_SYSTEM_BUS_ADDRESS:-}" ] && [ -S /run/dbus/system_bus_socket ] && installed; then
	say "using the system bus"
else
	sed -e "s|@SOCKET@|$dir/bus|" -e "s|@POLICY@|$PWD/dbus-policy/$policy|" data/private-bus.conf >"$dir/bus.conf"
	background "$dir/bus.log" dbus-daemon --config-file="$dir/bus.conf" --nofork --nopidfile
	if ! wait_for test -S "$dir/bus"; then
		say "the private bus does not start:"
		cat "$dir/bus.log" >&2
		exit 1
	fi
	export DBUS_SYSTEM_BUS_ADDRESS="unix:path=$dir/bus"
	say "using a private bus; in another terminal, as root:"
	say "  DBUS_SYSTEM_BUS_ADDRESS=$DBUS_SYSTEM_BUS_ADDRESS $bin/picosnitch summary"
	for polkitd in /usr/lib/polkit-1/polkitd /usr/libexec/polkit-1/polkitd /usr/libexec/polkitd; do
		[ -x "$polkitd" ] || continue
		mkdir -p "$dir/actions"
		cp polkit/org.picosnitch.Monitor.policy "$dir/actions/"
		# In a mount namespace of its own, where it finds the actions that are shipped.
		# shellcheck disable=SC2016 # the inner shell expands them
		background "$dir/polkit.log" unshare --mount --propagation private sh -c \
			'mount --bind "$1" /usr/share/polkit-1/actions && exec "$2" --no-debug' sh "$dir/actions" "$polkitd"
		break
	done
fi

install -m 600 data/config.toml "$dir/config.toml"
background "$dir/daemon.log" "$bin/picosnitchd" --config "$dir/config.toml" --state-dir "$dir/state" --log-dir "$dir/log"
if ! wait_for "$bin/picosnitch" status; then
	say "the service does not start:"
	tail -n 20 "$dir/daemon.log" >&2
	exit 1
fi

say "ready: start any program that uses the network; Ctrl-C ends and cleans up"
# Waited for, so that a signal to this script alone ends it, too.
"$bin/picosnitch" watch &
pids+=($!)
wait $!
