#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in the virtual machine, as root, once it has booted: checks the installed service under the machine's
# own systemd, D-Bus, polkit and logind, then runs the cases on real traffic that are named in its arguments.
# Prints `ok`, `FAILED` or `skipped` with a title for each; run.sh counts them.
set -uo pipefail
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C
here=/opt/picosnitch
unit=picosnitchd.service
object=(org.picosnitch.Monitor /org/picosnitch/Monitor org.picosnitch.Monitor)

no() {
	printf '%s\n' "$*"
	return 1
}

# One check: what it prints is shown in brackets if it passes, below it if it fails.
check() {
	local title=$1 said
	shift
	if said=$("$@" 2>&1); then
		echo "ok $title${said:+ (${said//$'\n'/; })}"
	else
		echo "FAILED $title"
		printf '    %s\n' "${said//$'\n'/$'\n    '}"
	fi
}

# Asks again until it is so; two minutes are for a machine that is emulated on a busy one.
until_it_holds() {
	local end=$((SECONDS + 120)) said
	until said=$("$@" 2>&1); do
		[ "$SECONDS" -lt "$end" ] || no "$said" || return
		sleep 0.3
	done
	[ -z "$said" ] || printf '%s\n' "$said"
}

about() { systemctl show -P "$1" "$unit"; }

is() {
	local got
	got=$(about "$1")
	[ "$got" = "$2" ] || no "$1 is $got, not $2"
}

# Milliseconds between two moments of the unit.
between() { echo $((($(about "$2Monotonic") - $(about "$1Monotonic")) / 1000)); }

# --- the service -------------------------------------------------------------------------------------------

unit_is_sound() {
	local said
	if ! said=$(systemd-analyze --man=no verify "$unit" 2>&1) || [ -n "$said" ]; then no "$said"; fi
}

sandbox() {
	local figure
	figure=$(systemd-analyze --no-pager security "$unit" | sed -nE 's/.*Overall exposure level for .*: ([0-9.]+) .*/\1/p')
	[ -n "$figure" ] || no "no figure" || return
	awk "BEGIN { exit !($figure <= 4.0) }" || no "exposure $figure, more than 4.0" || return
	echo "exposure $figure"
}

starts() {
	systemctl enable --quiet --now "$unit" || no "$(journalctl -u "$unit" -o cat --no-pager | tail -n 5)" || return
	is ActiveState active && is SubState running && is Type notify || return
	echo "ready after $(between ExecMainStartTimestamp ActiveEnterTimestamp) ms, emulated"
}

healthy() {
	local status
	status=$(picosnitch status --json) || no "$status" || return
	[ "$(jq -r .state <<<"$status")" = watching ] && [ "$(jq -r '."self-test"' <<<"$status")" = passed ] &&
		[ "$(jq -r '.degraded | length' <<<"$status")" = 0 ] &&
		[ "$(jq -r '."lost-flows" + ."lost-bytes" + ."lost-events" + ."lost-rows"' <<<"$status")" = 0 ] ||
		no "$status" || return
	echo "engine $(jq -r .engine <<<"$status")"
}

owned_by_the_unit() {
	local owner
	owner=$(busctl --no-pager status org.picosnitch.Monitor) || no "$owner" || return
	if ! grep -qx 'UID=0' <<<"$owner" || ! grep -qx "Unit=$unit" <<<"$owner"; then no "$owner"; fi
}

private_files() {
	local path mode got
	while read -r path mode; do
		got=$(stat -c %a "$path") && [ "$got" = "$mode" ] || no "$path is $got, not $mode" || return
	done <<-END
		/etc/picosnitch/config.toml 600
		/var/lib/picosnitch 700
		/var/lib/picosnitch/picosnitch.db 600
		/var/log/picosnitch 700
	END
}

# --- traffic of units --------------------------------------------------------------------------------------

# Runs a traffic generator of that name as a unit of that name; its own count is in $here/NAME.json.
generate() {
	local name=$1 program=$here/bin/$1
	shift
	mkdir -p "$here/bin"
	cp "$here/picosnitch-traffic" "$program"
	# Content like no other.
	printf '%s' "$name" >>"$program"
	systemd-run --quiet --collect --wait --pipe --unit="$name" "$@" "$program" loopback >"$here/$name.json"
}

# What was recorded of it, against its own count: path, content, unit, both ends and bytes.
recorded() {
	local name=$1 program=$here/bin/$1 rows want got
	rows=$(picosnitch connections --all --json --scope any --path "$program") || no "$rows" || return
	want=$(jq -cS '[.flows[] | {protocol, direction, address: .remote, "remote-port": .remote_port,
		"local-port": .local_port, sent, received}] | sort' "$here/$name.json")
	got=$(jq -csS 'def ends: {protocol, direction, address, "remote-port", "local-port"};
		[group_by(ends)[] | (first | ends) + {sent: map(.sent // 0) | add, received: map(.received // 0) | add}] | sort' \
		<<<"$rows")
	[ "$got" = "$want" ] || no "recorded $got"$'\n'"done     $want" || return
	got=$(jq -rs 'map("\(.sha256) \(.unit) \(.uid)") | unique | join(", ")' <<<"$rows")
	want="$(sha256sum <"$program" | cut -d ' ' -f 1) $name.service $(jq .uid "$here/$name.json")"
	[ "$got" = "$want" ] || no "recorded $got"$'\n'"done     $want"
}

exact() {
	generate "$@" || no "the generator failed" || return
	until_it_holds recorded "$1"
}

quiet() {
	local said
	said=$(journalctl -b -u "$unit" -p warning -o cat --no-pager)
	[ -z "$said" ] || no "$said"
}

# --- what leaves the machine -------------------------------------------------------------------------------

# The helper in the sandbox of its unit answers what it finds there: a server that is not.
relay_in_its_sandbox() {
	systemctl is-active --quiet picosnitch-relay.socket || no "the socket is not there" || return
	picosnitch config set remote.url postgresql://nobody:nothing@127.0.0.1:9/nowhere || return
	generate vm-relay && until_it_holds relay_answers && relay_is_nobody
	local failed=$?
	picosnitch config set remote.url "" || return
	return $failed
}

relay_answers() {
	local status
	status=$(picosnitch status --json) || no "$status" || return
	jq -e '(."remote-error" // "" | test("refused")) and ."remote-queued" > 0 and ."relay-restarts" == 0' <<<"$status" >/dev/null ||
		no "$(jq -c 'with_entries(select(.key | test("remote|relay")))' <<<"$status")"
}

relay_is_nobody() {
	local relay pid said
	relay=$(systemctl list-units --plain --no-legend 'picosnitch-relay@*' | cut -d ' ' -f 1)
	pid=$(systemctl show -P MainPID "$relay") || return
	said=$(grep -E '^(Uid|CapEff|CapPrm|NoNewPrivs|Seccomp):' "/proc/$pid/status" | tr -s '\t ' ' ') || no "no process: $relay" || return
	[ "$(stat -c %U "/proc/$pid")" = picosnitch-relay ] || no "$said" || return
	for want in 'CapPrm: 0000000000000000' 'CapEff: 0000000000000000' 'NoNewPrivs: 1' 'Seccomp: 2'; do
		grep -qx "$want" <<<"$said" || no "not $want: $said" || return
	done
}

# --- people ------------------------------------------------------------------------------------------------

# Runs a command as alice in a session of her own: at that console, or at none.
as_alice() {
	local console=$1 answer
	shift
	answer=$(mktemp)
	local how=(--property=PAMName=login --property=User=alice --property=StandardOutput="file:$answer"
		--property=StandardError=journal)
	[ "$console" = none ] || how+=(--property=TTYPath="/dev/$console" --property=StandardInput=tty)
	systemd-run --quiet --collect --wait "${how[@]}" "$@" || no "it ended with status $?" || return
	cat "$answer"
}

# Whether alice may, at that console: read-system, read-any, configure.
may() {
	local want=$2 said got
	said=$(as_alice "$1" busctl --json=short call "${object[@]}" Permissions) || no "$said" || return
	got=$(jq -r '.data[0] | with_entries(.key |= sub(".*\\."; "")) | [."read-system", ."read-any", .configure] | join(" ")' <<<"$said")
	[ "$got" = "$want" ] || no "answers are $got, not $want"
}

# Rows of the unit that alice sees at that console.
sees() {
	local said got
	said=$(as_alice "$1" picosnitch connections --all --json --path "$here/bin/$2") || no "$said" || return
	got=$(grep -c . <<<"$said")
	if [ "$3" = some ]; then [ "$got" -gt 0 ]; else [ "$got" = 0 ]; fi || no "$got rows"
}

# --- start and end -----------------------------------------------------------------------------------------

restart_keeps() {
	local before after notices
	before=$(picosnitch connections --all --json --scope any --path "$here/bin/vm-root" | sort)
	systemctl restart "$unit" && is ActiveState active || return
	generate vm-root && until_it_holds more_than "$(wc -l <<<"$before")" || return
	after=$(picosnitch connections --all --json --scope any --path "$here/bin/vm-root" | sort)
	[ -z "$(comm -23 <(echo "$before") <(echo "$after"))" ] || no "rows are gone" || return
	notices=$(picosnitch events --all --json --scope any --path "$here/bin/vm-root" | jq -s 'map(select(.kind == "new-executable")) | length')
	[ "$notices" = 1 ] || no "$notices notices of the same program" || return
	until_it_holds gaps 1
}

more_than() {
	local rows
	rows=$(picosnitch connections --all --json --scope any --path "$here/bin/vm-root" | wc -l)
	[ "$rows" -gt "$1" ] || no "$rows rows"
}

gaps() {
	local count
	count=$(picosnitch events --all --json | jq -s 'map(select(.error == "gap")) | length')
	[ "$count" -ge "$1" ] || no "$count gaps are on record, not $1"
}

logs_rotate() {
	local log=/var/log/picosnitch/exe.log
	systemctl is-enabled --quiet logrotate.timer || no "logrotate.timer is not enabled" || return
	[ -s "$log" ] || no "$log is empty" || return
	logrotate -f /etc/logrotate.d/picosnitch && [ -s "$log.1" ] || no "not rotated" || return
	generate vm-rotated && until_it_holds grep -q vm-rotated "$log" || no "no new $log" || return
	systemctl start logrotate.service || no "$(journalctl -u logrotate.service -o cat --no-pager | tail -n 3)"
}

comes_back() {
	local pid
	pid=$(about MainPID)
	kill -KILL "$pid"
	until_it_holds came_back "$pid" && until_it_holds gaps 2
}

came_back() { is ActiveState active && [ "$(about MainPID)" != "$1" ] && is NRestarts 1; }

stops() {
	systemctl stop "$unit" && is Result success || return
	local time
	time=$(between ActiveExitTimestamp InactiveEnterTimestamp)
	[ "$time" -lt 10000 ] || no "it took $time ms" || return
	echo "$time ms, emulated"
}

starts_when_asked() {
	busctl --timeout=60 call "${object[@]}" Status >/dev/null && is ActiveState active
}

refuses_mistakes() {
	echo 'no_such_key = 1' >>/etc/picosnitch/config.toml
	! systemctl restart "$unit" 2>/dev/null || no "it starts" || return
	is ExecMainStatus 3 && is ActiveState failed && is SubState failed && is NRestarts 0 || return
	journalctl -u "$unit" -p err -o cat --no-pager | grep -q 'config.toml.*no_such_key' ||
		no "$(journalctl -u "$unit" -o cat --no-pager | tail -n 5)" || return
	sed -i '/^no_such_key/d' /etc/picosnitch/config.toml
}

useradd --create-home --shell /bin/sh alice
systemctl stop getty@tty1 getty@tty2 2>/dev/null

check "the unit is sound (systemd-analyze verify)" unit_is_sound
check "enabled and started, it says that it is ready" starts
check "nothing is degraded, the self-test is exact, nothing lost" healthy
check "the sandbox of the unit" sandbox
check "B01 the unit owns the bus name" owned_by_the_unit
check "settings, history and logs are private" private_files
check "T18 a unit's traffic, exact" exact vm-root
check "T18 a unit with a dynamic user, exact" exact vm-dynamic --property=DynamicUser=yes
check "T18 a unit of alice's, exact" exact vm-alice --property=User=alice
check "B02 alice at the console in front may see the system's" may tty1 "yes challenge challenge"
check "B02 alice at another console may not" may tty2 "challenge challenge no"
check "B02 alice at no console may not" may none "challenge challenge challenge"
check "B04 rows of the dynamic user are seen at the console in front" sees tty1 vm-dynamic some
check "B04 and at no other" sees none vm-dynamic none
check "B04 her own rows are seen anywhere" sees none vm-alice some
check "S09 logs are rotated" logs_rotate
check "the journal has no warning" quiet
check "S11 the helper in its sandbox" relay_in_its_sandbox
check "N01 a restart keeps the history, tells nothing twice and records the gap" restart_keeps
check "S01 killed, it is started again and records the gap" comes_back
check "it stops at once" stops
check "a call on the bus starts it" starts_when_asked
check "S07 a mistake in the settings: refused once, with a sentence" refuses_mistakes
systemctl reset-failed "$unit"
systemctl stop "$unit"

[ $# = 0 ] || "$here/picosnitch-lab" --slow "$@"
echo "that was all"
