#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Installs what is missing, by the distribution's package manager, and says what it installs. Does nothing,
# and needs no privilege, where nothing is missing. Asks nothing (sudo may, if a person has to be root).
#
#   tests/setup.sh run     what it takes to build and run the service and the command
#   tests/setup.sh build   the same and the window's toolkit
#   tests/setup.sh test    the same and what the tests use
#   tests/setup.sh vm      the same and what the tests in virtual machines use
set -euo pipefail

# Where people who are not root may not look.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
purpose=${1:-run}
case $purpose in
run | build | test | vm) ;;
*)
	echo "usage: tests/setup.sh run|build|test|vm" >&2
	exit 2
	;;
esac

say() { printf 'setup: %s\n' "$*" >&2; }

# A package that a machine may not have: a test that succeeds if it is there, then its name for apt, dnf
# and pacman. `-` where that distribution has it in another package of the list.
needs() {
	printf '%s\n' \
		"command -v cc|build-essential|gcc|gcc" \
		"command -v make|make|make|make" \
		"command -v pkg-config|pkg-config|pkgconf-pkg-config|pkgconf" \
		"command -v clang|clang|clang|clang" \
		"libclang|libclang-dev|clang-devel|clang" \
		"pkg-config --exists libelf|libelf-dev|elfutils-libelf-devel|libelf" \
		"pkg-config --exists zlib|zlib1g-dev|zlib-devel|zlib" \
		"command -v dbus-daemon|dbus|dbus-daemon|dbus" \
		"polkit|polkitd|polkit|polkit"
	[ "$purpose" = run ] && return
	printf '%s\n' \
		"pkg-config --exists gtk4|libgtk-4-dev|gtk4-devel|gtk4" \
		"pkg-config --exists libadwaita-1|libadwaita-1-dev|libadwaita-devel|libadwaita" \
		"command -v msgfmt|gettext|gettext|gettext"
	[ "$purpose" = build ] && return
	printf '%s\n' \
		"command -v clang-format|clang-format|clang-tools-extra|clang" \
		"command -v shellcheck|shellcheck|ShellCheck|shellcheck" \
		"command -v ip|iproute2|iproute|iproute2" \
		"command -v nft|nftables|nftables|nftables" \
		"command -v python3|python3|python3|python" \
		"command -v mkfs.btrfs|btrfs-progs|btrfs-progs|btrfs-progs" \
		"command -v mkfs.xfs|xfsprogs|xfsprogs|xfsprogs" \
		"command -v mksquashfs|squashfs-tools|squashfs-tools|squashfs-tools" \
		"command -v mkfs.ext4|e2fsprogs|e2fsprogs|e2fsprogs" \
		"command -v perl|perl|perl-interpreter|perl" \
		"command -v openssl|openssl|openssl|openssl" \
		"postgres_server|postgresql|postgresql-server|postgresql" \
		"command -v mariadbd|mariadb-server-core|mariadb-server|mariadb" \
		"command -v mariadb|mariadb-client|mariadb|mariadb-clients" \
		"command -v setpriv|util-linux|util-linux|util-linux" \
		"command -v useradd|passwd|shadow-utils|shadow" \
		"command -v logrotate|logrotate|logrotate|logrotate" \
		"command -v dbus-send|-|dbus-tools|-" \
		"command -v strip|binutils|binutils|binutils" \
		"command -v Xvfb|xvfb|xorg-x11-server-Xvfb|xorg-server-xvfb" \
		"command -v xfce4-panel|xfce4-panel|xfce4-panel|xfce4-panel" \
		"command -v dunst|dunst|dunst|dunst" \
		"test -e /usr/share/i18n/locales/de_DE|locales|glibc-locale-source|glibc" \
		"command -v xdotool|xdotool|xdotool|xdotool" \
		"test -e /usr/share/dbus-1/services/org.a11y.Bus.service|at-spi2-core|at-spi2-core|at-spi2-core" \
		"command -v desktop-file-validate|desktop-file-utils|desktop-file-utils|desktop-file-utils" \
		"command -v appstreamcli|appstream|appstream|appstream"
	[ "$purpose" = test ] && return
	printf '%s\n' \
		"command -v debootstrap|debootstrap|debootstrap|debootstrap" \
		"command -v qemu-system-x86_64|qemu-system-x86|qemu-system-x86-core|qemu-system-x86" \
		"command -v mke2fs|e2fsprogs|e2fsprogs|e2fsprogs"
}

# What bindgen loads.
libclang() {
	ldconfig -p 2>/dev/null | grep -q 'libclang[-.]' && return
	compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' >/dev/null || compgen -G '/usr/lib*/libclang.so*' >/dev/null
}

# Only the programs: the tests start servers of their own.
postgres_server() { compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || command -v initdb >/dev/null; }

polkit() { [ -x /usr/lib/polkit-1/polkitd ] || [ -x /usr/libexec/polkit-1/polkitd ] || [ -x /usr/libexec/polkitd ]; }

manager=
for candidate in apt-get dnf pacman; do
	if command -v "$candidate" >/dev/null; then
		manager=$candidate
		break
	fi
done

packages=()
missing=()
collect() {
	packages=() missing=()
	local probe apt dnf pacman package
	while IFS='|' read -r probe apt dnf pacman; do
		# The probes are those above: a command with plain words.
		if $probe >/dev/null 2>&1; then continue; fi
		case $manager in
		apt-get) package=$apt ;;
		dnf) package=$dnf ;;
		pacman) package=$pacman ;;
		*) package=$apt ;;
		esac
		missing+=("$probe")
		[ "$package" = - ] || packages+=("$package")
	done < <(needs)
}

as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		say "these packages are missing and only root can install them: ${packages[*]}"
		exit 1
	fi
}

install() {
	case $manager in
	apt-get)
		# The tests start servers of their own; the package would make one that starts with the machine.
		local cluster=/etc/postgresql-common/createcluster.conf
		if [[ " ${packages[*]} " == *" postgresql "* ]] && [ ! -e "$cluster" ]; then
			as_root mkdir -p "${cluster%/*}"
			echo "create_main_cluster = false" | as_root tee "$cluster" >/dev/null
			say "no PostgreSQL server will start with the machine ($cluster)"
		fi
		local get=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0)
		# A machine whose lists are missing or old has to fetch them first.
		as_root "${get[@]}" install -y --no-install-recommends "${packages[@]}" >&2 2>/dev/null && return
		as_root "${get[@]}" update >&2
		as_root "${get[@]}" install -y --no-install-recommends "${packages[@]}" >&2
		;;
	dnf) as_root dnf install -y "${packages[@]}" >&2 ;;
	pacman) as_root pacman -Sy --noconfirm --needed "${packages[@]}" >&2 ;;
	*)
		say "no package manager that is known here (apt-get, dnf, pacman); install by hand: ${packages[*]}"
		exit 1
		;;
	esac
}

collect
if [ ${#packages[@]} -gt 0 ]; then
	say "installing with ${manager:-nothing}: ${packages[*]}"
	install
	collect
	if [ ${#missing[@]} -gt 0 ]; then
		say "still missing after that (the test that fails): ${missing[*]}"
		exit 1
	fi
fi

if ! command -v cargo >/dev/null && [ -x "$HOME/.cargo/bin/cargo" ]; then
	say "cargo is in $HOME/.cargo/bin, which is not in PATH"
	exit 1
fi
if ! command -v cargo >/dev/null; then
	say "a Rust toolchain is missing: get one from https://rustup.rs"
	exit 1
fi
if [ "$purpose" = test ] && command -v rustup >/dev/null; then
	for component in rustfmt clippy; do
		tool=${component/rustfmt/cargo-fmt}
		"${tool/#clippy/cargo-clippy}" --version >/dev/null 2>&1 && continue
		say "installing with rustup: $component"
		rustup component add "$component" >&2
	done
fi
