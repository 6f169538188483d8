# SPDX-License-Identifier: GPL-3.0-or-later
# `make run` and `make test` install what they miss and say so. `make && sudo make install` puts the product
# on the system.

CARGO ?= cargo
DESTDIR ?=
prefix ?= /usr/local
bindir ?= $(prefix)/bin
libexecdir ?= $(prefix)/libexec
mandir ?= $(prefix)/share/man
datadir ?= $(prefix)/share
unitdir ?= $(prefix)/lib/systemd/system
sysusersdir ?= $(prefix)/lib/sysusers.d
tmpfilesdir ?= $(prefix)/lib/tmpfiles.d
sysconfdir ?= /etc
# These are looked for nowhere else.
dbusdir ?= /usr/share/dbus-1
polkitdir ?= /usr/share/polkit-1
profiledir = $(or $(CARGO_TARGET_DIR),target)/release
as_root = $(shell [ "$$(id -u)" = 0 ] || echo sudo)

programs = picosnitch picosnitch-tray picosnitch-gui
units = picosnitchd.service picosnitch-relay.socket picosnitch-relay@.service
bash_completion = $(datadir)/bash-completion/completions/picosnitch
zsh_completion = $(datadir)/zsh/site-functions/_picosnitch
fish_completion = $(datadir)/fish/vendor_completions.d/picosnitch.fish

# Programs look for them in ../share/locale, seen from where they are.
catalogues = $(patsubst data/po/%.po,$(or $(CARGO_TARGET_DIR),target)/share/locale/%/LC_MESSAGES/picosnitch.mo,$(wildcard data/po/*.po))

.PHONY: translations all run test test-all bench install uninstall fmt lint man

all:
	tests/setup.sh build
	$(CARGO) build --release -p picosnitch-relay
	$(CARGO) build --release -p picosnitchd $(programs:%=-p %)
	$(MAKE) --no-print-directory translations

translations: $(catalogues)

$(or $(CARGO_TARGET_DIR),target)/share/locale/%/LC_MESSAGES/picosnitch.mo: data/po/%.po
	@mkdir -p $(@D)
	msgfmt --check --output-file=$@ $<

run:
	@./run.sh

test:
	@tests/all.sh

# With the variants that take long.
test-all:
	@tests/all.sh --long

# FIGURES="start latency" takes these alone.
bench:
	tests/setup.sh test
	$(CARGO) build --release --workspace
	$(as_root) $(profiledir)/picosnitch-bench $(FIGURES)

fmt:
	$(CARGO) fmt --all
	clang-format -i bpf/src/*.c bpf/src/*.h

lint:
	@tests/all.sh --lint

# The manual page from the definition of the command line; a test compares it.
man:
	$(CARGO) run -q -p picosnitch -- man > data/man/picosnitch.1.new
	mv data/man/picosnitch.1.new data/man/picosnitch.1

install:
	@[ -x $(profiledir)/picosnitchd ] || { echo "install: build it first: make" >&2; exit 1; }
	install -D -m 755 $(profiledir)/picosnitchd $(DESTDIR)$(libexecdir)/picosnitchd
	install -D -m 755 $(profiledir)/picosnitch-relay $(DESTDIR)$(libexecdir)/picosnitch-relay
	for program in $(programs); do \
		install -D -m 755 $(profiledir)/$$program $(DESTDIR)$(bindir)/$$program || exit 1; \
	done
	for page in data/man/*; do \
		install -D -m 644 $$page $(DESTDIR)$(mandir)/man$${page##*.}/$${page##*/} || exit 1; \
	done
	install -d $(DESTDIR)$(unitdir) $(DESTDIR)$(dir $(bash_completion)) $(DESTDIR)$(dir $(zsh_completion)) \
		$(DESTDIR)$(dir $(fish_completion))
	$(profiledir)/picosnitch completions bash > $(DESTDIR)$(bash_completion)
	$(profiledir)/picosnitch completions zsh > $(DESTDIR)$(zsh_completion)
	$(profiledir)/picosnitch completions fish > $(DESTDIR)$(fish_completion)
	for unit in $(units); do \
		sed 's|@libexecdir@|$(libexecdir)|' data/$$unit > $(DESTDIR)$(unitdir)/$$unit || exit 1; \
	done
	for file in data/sql/*.sql; do install -D -m 644 $$file $(DESTDIR)$(datadir)/picosnitch/sql/$${file##*/} || exit 1; done
	install -D -m 644 data/picosnitch.sysusers $(DESTDIR)$(sysusersdir)/picosnitch.conf
	install -D -m 644 data/picosnitch.tmpfiles $(DESTDIR)$(tmpfilesdir)/picosnitch.conf
	install -D -m 644 data/picosnitch.logrotate $(DESTDIR)$(sysconfdir)/logrotate.d/picosnitch
	install -D -m 644 dbus-policy/org.picosnitch.Monitor.conf $(DESTDIR)$(dbusdir)/system.d/org.picosnitch.Monitor.conf
	install -D -m 644 dbus-policy/org.picosnitch.Monitor.service \
		$(DESTDIR)$(dbusdir)/system-services/org.picosnitch.Monitor.service
	install -D -m 644 polkit/org.picosnitch.Monitor.policy $(DESTDIR)$(polkitdir)/actions/org.picosnitch.Monitor.policy
	[ -e $(DESTDIR)$(sysconfdir)/picosnitch/config.toml ] || \
		install -D -m 600 data/config.toml $(DESTDIR)$(sysconfdir)/picosnitch/config.toml
	@$(MAKE) --no-print-directory desktop-files
	@[ -n "$(DESTDIR)" ] || { \
		! command -v systemd-sysusers >/dev/null || systemd-sysusers; \
		! command -v systemd-tmpfiles >/dev/null || systemd-tmpfiles --create $(tmpfilesdir)/picosnitch.conf; \
		[ ! -d /run/systemd/system ] || { systemctl daemon-reload; systemctl reload dbus || true; }; \
		echo "installed; start it now and at every boot: systemctl enable --now picosnitchd"; \
	}

# What the desktop finds; each file exists as soon as its part of the product does.
.PHONY: desktop-files
desktop-files:
	@for file in $(wildcard data/applications/*.desktop); do \
		install -d $(DESTDIR)$(datadir)/applications && sed 's|@bindir@|$(bindir)|' $$file \
			> $(DESTDIR)$(datadir)/applications/$${file##*/} && \
			chmod 644 $(DESTDIR)$(datadir)/applications/$${file##*/} || exit 1; done
	@for file in $(wildcard data/autostart/*.desktop); do \
		install -d $(DESTDIR)$(sysconfdir)/xdg/autostart && sed 's|@bindir@|$(bindir)|' $$file \
			> $(DESTDIR)$(sysconfdir)/xdg/autostart/$${file##*/} && \
			chmod 644 $(DESTDIR)$(sysconfdir)/xdg/autostart/$${file##*/} || exit 1; done
	@for file in $(wildcard data/services/*.service); do \
		install -d $(DESTDIR)$(dbusdir)/services && sed 's|@bindir@|$(bindir)|' $$file \
			> $(DESTDIR)$(dbusdir)/services/$${file##*/} || exit 1; done
	@for file in $(catalogues); do \
		install -D -m 644 $$file $(DESTDIR)$(datadir)/$${file#*share/} || exit 1; done
	@for file in $(wildcard data/metainfo/*.xml); do \
		install -D -m 644 $$file $(DESTDIR)$(datadir)/metainfo/$${file##*/} || exit 1; done
	@cd data && for file in $$(find icons -type f 2>/dev/null); do \
		install -D -m 644 $$file $(DESTDIR)$(datadir)/$$file || exit 1; done

# The settings and the history stay.
uninstall:
	@[ -n "$(DESTDIR)" ] || [ ! -d /run/systemd/system ] || systemctl disable --now picosnitchd picosnitch-relay.socket || true
	rm -f $(DESTDIR)$(libexecdir)/picosnitchd $(DESTDIR)$(libexecdir)/picosnitch-relay $(programs:%=$(DESTDIR)$(bindir)/%) \
		$(foreach page,$(notdir $(wildcard data/man/*)),$(DESTDIR)$(mandir)/man$(subst .,,$(suffix $(page)))/$(page)) \
		$(DESTDIR)$(bash_completion) $(DESTDIR)$(zsh_completion) $(DESTDIR)$(fish_completion) \
		$(units:%=$(DESTDIR)$(unitdir)/%) $(patsubst data/sql/%,$(DESTDIR)$(datadir)/picosnitch/sql/%,$(wildcard data/sql/*)) \
		$(DESTDIR)$(sysusersdir)/picosnitch.conf $(DESTDIR)$(tmpfilesdir)/picosnitch.conf \
		$(DESTDIR)$(sysconfdir)/logrotate.d/picosnitch \
		$(DESTDIR)$(dbusdir)/system.d/org.picosnitch.Monitor.conf \
		$(DESTDIR)$(dbusdir)/system-services/org.picosnitch.Monitor.service \
		$(DESTDIR)$(polkitdir)/actions/org.picosnitch.Monitor.policy
	rm -f $(patsubst data/applications/%,$(DESTDIR)$(datadir)/applications/%,$(wildcard data/applications/*.desktop)) \
		$(patsubst data/autostart/%,$(DESTDIR)$(sysconfdir)/xdg/autostart/%,$(wildcard data/autostart/*.desktop)) \
		$(patsubst data/services/%,$(DESTDIR)$(dbusdir)/services/%,$(wildcard data/services/*.service)) \
		$(patsubst data/metainfo/%,$(DESTDIR)$(datadir)/metainfo/%,$(wildcard data/metainfo/*.xml))
	@cd data && for file in $$(find icons -type f 2>/dev/null); do rm -f $(DESTDIR)$(datadir)/$$file; done
	rm -f $(patsubst data/po/%.po,$(DESTDIR)$(datadir)/locale/%/LC_MESSAGES/picosnitch.mo,$(wildcard data/po/*.po))
	@[ -n "$(DESTDIR)" ] || [ ! -d /run/systemd/system ] || { systemctl daemon-reload; systemctl reload dbus || true; }
	@echo "$(sysconfdir)/picosnitch, /var/lib/picosnitch and /var/log/picosnitch are left as they are"
