#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# `make test`: installs what is missing, then runs every check and every test, also after one has failed.
# The last line sums everything up; what was skipped stands above it, with the reason. The status is 0 if
# nothing failed.
#
#   --lint   the checks of the sources alone
#   --long   also the variants that take long
set -uo pipefail
cd "$(dirname "$0")/.." || exit

lint_only=false
lab=() long=false
for argument in "$@"; do
	case $argument in
	--lint) lint_only=true ;;
	--long) lab+=(--long) long=true ;;
	*)
		echo "usage: tests/all.sh [--lint] [--long]" >&2
		exit 2
		;;
	esac
done

passed=0 failed=0 skipped=0
failures=() reasons=()
log=$(mktemp)
trap 'rm -f "$log"' EXIT

heading() { printf '\n== %s\n' "$*"; }

# A check that passes or fails as one.
check() {
	local name=$1
	shift
	heading "$name"
	if "$@"; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		failures+=("$name")
	fi
}

skip() {
	skipped=$((skipped + 1))
	reasons+=("$1")
}

# How to become root without a question: nothing, sudo, or not at all.
as_root=()
may_root=true
if [ "$(id -u)" != 0 ]; then
	as_root=(sudo)
	command -v sudo >/dev/null && sudo -n true 2>/dev/null || may_root=false
fi

# Runs cargo's tests and adds their counts up. A build that fails, or a test program that dies before it
# counted, is a failure too.
count_tests() {
	local name=$1 status ok=0 bad=0 word count
	shift
	heading "$name"
	cargo test --workspace --no-fail-fast "$@" 2>&1 | tee "$log"
	status=${PIPESTATUS[0]}
	while read -r count word; do
		case $word in
		passed) ok=$((ok + count)) ;;
		failed) bad=$((bad + count)) ;;
		esac
	done < <(grep -E '^test result: ' "$log" | grep -oE '[0-9]+ (passed|failed)')
	while read -r word; do failures+=("$word"); done < <(sed -nE 's/^test (.*) \.\.\. FAILED$/\1/p' "$log")
	if [ "$status" != 0 ] && [ "$bad" = 0 ]; then
		bad=1
		failures+=("$name: it ended with status $status")
	fi
	passed=$((passed + ok)) failed=$((failed + bad))
}

cargo_tests() {
	count_tests "cargo test"
	# Those that need root are marked as ignored, so that cargo test works for everybody.
	local word
	if $may_root; then
		local runner=()
		[ ${#as_root[@]} = 0 ] || runner=(--config 'target."cfg(unix)".runner = "sudo"')
		count_tests "cargo test, what needs root" "${runner[@]}" -- --ignored --test-threads=1
	else
		while read -r word; do skip "$word"; done < <(sed -nE 's/^test (.*) \.\.\. ignored,? ?(.*)$/\1: \2/p' "$log")
	fi
}

# The cases on real traffic, with a real bus and real users. They need root.
lab_cases() {
	heading "cases on real traffic"
	local program=${CARGO_TARGET_DIR:-target}/debug/picosnitch-lab
	if ! $may_root; then
		skip "cases on real traffic (all of them): they need root, and sudo would ask for a password"
		return
	fi
	# Ten million rows are asked for by the clock, which only a release build keeps.
	if $long && ! cargo build --release -p picosnitchd --example store; then
		failed=$((failed + 1))
		failures+=("building what makes ten million rows")
	fi
	if ! cargo build --workspace; then
		failed=$((failed + 1))
		failures+=("building the programs for the cases")
		return
	fi
	run_counted "cases on real traffic" "$program" "${lab[@]}"
}

# A program as root that prints a line for each of its cases and their counts at the end.
run_counted() {
	local name=$1 status line
	shift
	"${as_root[@]}" "$@" 2>&1 | tee "$log"
	status=${PIPESTATUS[0]}
	line=$(tail -n 1 "$log")
	if [[ $line =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed,\ ([0-9]+)\ skipped$ ]]; then
		passed=$((passed + BASH_REMATCH[1]))
		failed=$((failed + BASH_REMATCH[2]))
		[ "${BASH_REMATCH[2]}" = 0 ] || while read -r line; do failures+=("$line"); done \
			< <(sed -n 's/^FAILED //p' "$log")
		while read -r line; do skip "$line"; done < <(sed -n 's/^skipped //p' "$log")
	fi
	if [ "$status" != 0 ] && [ "${BASH_REMATCH[2]:-0}" = 0 ]; then
		failed=$((failed + 1))
		failures+=("$name: the program ended with status $status")
	fi
}

# The installed service on other kernels, under systemd. Takes half an hour.
machines() {
	heading "virtual machines"
	if ! $may_root; then
		skip "virtual machines (all of them): they need root, and sudo would ask for a password"
	elif ! tests/setup.sh vm; then
		skip "virtual machines (all of them): what they need cannot be installed here"
	else
		run_counted "virtual machines" env "CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}" tests/vm/run.sh
	fi
}

tests/setup.sh test || exit 1

check "rustfmt" cargo fmt --all --check
check "clippy" cargo clippy --workspace --all-targets -- -D warnings
mapfile -t c_sources < <(git ls-files 'bpf/*.c' 'bpf/*.h' 2>/dev/null || find bpf -name '*.[ch]')
if [ ${#c_sources[@]} -gt 0 ]; then
	check "clang-format" clang-format --dry-run -Werror "${c_sources[@]}"
fi
mapfile -t scripts < <(git ls-files 2>/dev/null | while read -r file; do
	[ -f "$file" ] && head -c 32 "$file" | head -n 1 | tr -d '\0' | grep -qE '^#!.*\b(ba)?sh$' && echo "$file"
done)
[ ${#scripts[@]} -gt 0 ] || scripts=(run.sh tests/all.sh tests/setup.sh .ci/run)
check "shellcheck" shellcheck "${scripts[@]}"
# Tools that take minutes to build are built for the long run alone.
if $long; then
	for tool in cargo-deny cargo-fuzz; do
		command -v "$tool" >/dev/null || cargo install --locked "$tool"
	done
fi
check "translations" tests/translations.sh
check "desktop entries" desktop-file-validate data/applications/*.desktop data/autostart/*.desktop
# There is no homepage yet: newer versions warn of that, older ones do not know the word for it.
metainfo() {
	appstreamcli validate --no-net --no-color "$@" ||
		appstreamcli validate --no-net --no-color --override=url-homepage-missing=info "$@"
}
check "AppStream metainfo" metainfo data/metainfo/*.xml
if cargo deny --version >/dev/null 2>&1; then
	check "cargo-deny" cargo deny --offline check bans licenses sources
else
	skip "cargo-deny (licences and bans of deny.toml): it is not installed (cargo install cargo-deny)"
fi

# Noise for what reads hostile input, half a minute each. cargo-fuzz wants flags that a stable compiler has, but
# not without being told.
fuzz() {
	(cd fuzz && RUSTC_BOOTSTRAP=1 cargo fuzz run --sanitizer none "$1" -- -max_total_time=30 -rss_limit_mb=2048)
}

if ! $lint_only; then
	cargo_tests
	lab_cases
	if $long; then machines; fi
fi
if $long && ! $lint_only; then
	for target in fuzz/fuzz_targets/*.rs; do
		target=$(basename "$target" .rs)
		check "fuzzing $target" fuzz "$target"
	done
fi

heading "summary"
for line in "${failures[@]}"; do echo "failed: $line"; done
for line in "${reasons[@]}"; do echo "skipped: $line"; done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
