#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Boots whole Debian systems with their own kernels in an emulator, installs picosnitch there by `make
# install` and checks it under their systemd, D-Bus, polkit and logind; see inside.sh. Needs root (for
# debootstrap), and the programs built: `cargo build --workspace`. Nothing is kept but the systems as they
# come from Debian, in target/vm.
#
#   tests/vm/run.sh [SUITE]...    trixie, bookworm; both if none is named
#
# Prints a line for each check and at last the counts, as picosnitch-lab does.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit

target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
built=$target/debug
kept=$target/vm
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
# A machine that hangs is given up after this many seconds.
patience=1800

declare -A name=([trixie]="Debian 13" [bookworm]="Debian 12")
declare -A libelf=([trixie]=libelf1t64 [bookworm]=libelf1)
packages=(systemd systemd-sysv udev dbus polkitd libpam-systemd kmod iproute2 nftables jq logrotate passwd
	procps util-linux binutils zlib1g)
# What another kernel could count in another way, attribute in another way or refuse. Cases about time are
# not for an emulator.
cases=(T00 T01 T02 T03 T04 T05 T06 T07 T09 T10 T11 T12 T13 T14 T15 T16 T17 T18 T19 T20 T21 T22 T23 T24 T26
	T27 T28 T30 I01 I02 I03 I04 I05 I07 I09 I12 I17 I18 I19 I21 B02 B04)

passed=0 failed=0 skipped=0
work=$(mktemp -d /var/tmp/picosnitch-vm.XXXXXX)
emulator=
cleanup() {
	[ -z "$emulator" ] || kill "$emulator" 2>/dev/null
	rm -rf -- "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

count() {
	local line
	while IFS= read -r line; do
		line=${line%$'\r'}
		case $line in
		"ok "*) passed=$((passed + 1)) line="ok $1: ${line#ok }" ;;
		"FAILED "*) failed=$((failed + 1)) line="FAILED $1: ${line#FAILED }" ;;
		"skipped "*) skipped=$((skipped + 1)) line="skipped $1: ${line#skipped }" ;;
		"    "*) ;;
		*) continue ;;
		esac
		printf '%s\n' "$line"
	done
}

# The system as Debian makes it, and its kernel (the one for virtual machines): SUITE.tar, SUITE.vmlinuz.
fetch() {
	local suite=$1 root=$work/root
	[ ! -s "$kept/$suite.tar" ] || return 0
	echo "fetching ${name[$suite]} from $mirror" >&2
	mkdir -p "$kept"
	debootstrap --variant=minbase --include="$(IFS=,; echo "${packages[*]}"),${libelf[$suite]}" "$suite" "$root" "$mirror" \
		>"$work/log" 2>&1 || { tail -n 5 "$work/log"; return 1; }
	# Unpacked beside the system and not installed: it needs no boot loader and no initial RAM disk.
	chroot "$root" sh -e >"$work/log" 2>&1 <<-'END' || { tail -n 5 "$work/log"; return 1; }
		apt-get -q update
		package=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p')
		mkdir /kernel
		cd /kernel
		apt-get -q -o APT::Sandbox::User=root download "$package"
		dpkg-deb -x linux-image-*.deb .
		mv lib/modules usr/lib/modules /usr/lib/ 2>/dev/null || [ -d /usr/lib/modules ]
		depmod "$(ls /usr/lib/modules)"
		mv boot/vmlinuz-* /vmlinuz
		cd /
		rm -r /kernel
		apt-get clean
	END
	mv "$root/vmlinuz" "$kept/$suite.vmlinuz"
	tar -C "$root" -cf "$kept/$suite.tar.new" . && mv "$kept/$suite.tar.new" "$kept/$suite.tar"
	rm -rf -- "$root"
	[ -z "${SUDO_UID:-}" ] || chown -R "$SUDO_UID" "$kept"
}

# A disk with the system, what `make install` installs, and the checks.
furnish() {
	local suite=$1 root=$work/root program
	mkdir "$root" && tar -C "$root" -xf "$kept/$suite.tar" || return
	make -s translations install DESTDIR="$root" prefix=/usr profiledir="$built" >"$work/log" 2>&1 ||
		{ tail -n 5 "$work/log"; return 1; }
	# The window's toolkit is not there.
	rm "$root/usr/bin/picosnitch-gui" "$root/usr/bin/picosnitch-tray"
	mkdir -p "$root/opt/picosnitch" "$root$PWD"
	# Where the cases look for the policies.
	cp -a dbus-policy polkit data "$root$PWD/"
	for program in picosnitchd picosnitch picosnitch-lab picosnitch-person picosnitch-traffic; do
		install -m 755 "$built/$program" "$root/opt/picosnitch/" || return
	done
	chroot "$root" strip /usr/libexec/picosnitchd /usr/bin/picosnitch /opt/picosnitch/picosnitch{d,,-lab,-person,-traffic}
	install -m 755 tests/vm/inside.sh "$root/opt/picosnitch/"
	cat >"$root/etc/systemd/system/check.service" <<-END
		[Unit]
		After=multi-user.target
		[Service]
		Type=exec
		ExecStart=/opt/picosnitch/inside.sh ${cases[*]}
		ExecStopPost=systemctl --no-block poweroff
		StandardOutput=file:/dev/ttyS1
		StandardError=file:/dev/ttyS1
	END
	mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
	# Setuid programs are run from /tmp, which Debian 13 mounts without them.
	ln -s /dev/null "$root/etc/systemd/system/tmp.mount"
	ln -s /etc/systemd/system/check.service "$root/etc/systemd/system/multi-user.target.wants/"
	# Programs that are built here may want a newer libc than the machine has.
	if ! chroot "$root" /usr/libexec/picosnitchd --version >"$work/log" 2>&1; then
		echo "skipped all of it: programs that are built here do not run there: $(tail -n 1 "$work/log")"
		return 1
	fi
	truncate -s 3G "$work/disk" && mke2fs -q -t ext4 -d "$root" "$work/disk" || return
	rm -rf -- "$root"
}

# Starts the machine; its process is `emulator`.
boot() {
	# One thread, and without cx16: several versions of the emulator get code wrong that another processor
	# patches, and that instruction; Linux makes use of both.
	timeout "$patience" nice -n 10 qemu-system-x86_64 -accel tcg,thread=single -cpu max,cx16=off -smp 2 -m 3000 \
		-nodefaults -no-reboot -display none -vga std -nic none -kernel "$kept/$1.vmlinuz" \
		-drive file="$work/disk",format=raw,if=none,id=disk,cache=unsafe -device nvme,drive=disk,serial=disk \
		-serial file:"$work/console" -serial file:"$work/results" \
		-append "console=ttyS0 panic=-1 quiet root=/dev/nvme0n1 rootfstype=ext4 rw" >"$work/log" 2>&1 &
	emulator=$!
}

suites=("$@")
[ $# -gt 0 ] || suites=(trixie bookworm)
if [ "$(uname -m)" != x86_64 ]; then
	count "virtual machines" <<<"skipped all of them: only written for x86-64"
	suites=()
fi
for suite in "${suites[@]}"; do
	rm -rf -- "${work:?}"/*
	said=$(fetch "$suite") || { count "${name[$suite]}" <<<"skipped all of it: it cannot be fetched: $said"; continue; }
	said=$(furnish "$suite") || {
		case $said in
		skipped*) ;;
		*) said="FAILED the disk"$'\n'"    $said" ;;
		esac
		count "${name[$suite]}" <<<"$said"
		continue
	}
	: >"$work/results"
	boot "$suite"
	# What it says is shown while it runs.
	count "${name[$suite]}" < <(tail -s 0.2 --pid="$emulator" -n +1 -F "$work/results" 2>/dev/null)
	wait "$emulator"
	emulator=
	grep -q '^that was all' "$work/results" ||
		count "${name[$suite]}" < <(echo "FAILED it came to no end"; grep -v '^\s*$' "$work/console" | tail -n 25 | sed 's/^/    /')
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
