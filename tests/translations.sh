#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Checks the translations of the desktop: every text of the sources is in every catalogue, none is missing
# or uncertain, placeholders and plural forms are those of the source.
#
#   tests/translations.sh           checks
#   tests/translations.sh --update  takes texts that are new or gone over into the catalogues
set -euo pipefail
cd "$(dirname "$0")/.."
dir=$(mktemp -d)
trap 'rm -rf -- "$dir"' EXIT
mapfile -t sources < <(git ls-files 'gui/src/*.rs' 'tray/src/*.rs' api/src/hint.rs api/src/quiet.rs 2>/dev/null | grep -v '/main\.rs$')
[ ${#sources[@]} -gt 0 ] || mapfile -t sources < <(find gui/src tray/src api/src/hint.rs api/src/quiet.rs -name '*.rs' ! -name main.rs | sort)

# xgettext has no Rust. In C, `'a` begins a character; what follows on the line would be lost.
mkdir "$dir/sources"
for file in "${sources[@]}"; do
	mkdir -p "$dir/sources/${file%/*}"
	sed -E "s/'([a-z_]+)\b([^'])/\1\2/g" "$file" >"$dir/sources/$file"
done
(cd "$dir/sources" && xgettext --language=C --from-code=UTF-8 --add-comments=Translators --package-name=picosnitch \
	--keyword --keyword=tr:1 --keyword=mark:1 --keyword=say:1 --keyword=tr_n:1,2 --keyword=say_n:1,2 \
	--output="$dir/picosnitch.pot" "${sources[@]}")
# Placeholders are those of Python's format().
sed -i -E 's/charset=CHARSET/charset=UTF-8/; s/^#, c-format$//' "$dir/picosnitch.pot"
python3 - "$dir/picosnitch.pot" <<'PYTHON'
import re, sys
blocks = open(sys.argv[1], encoding="utf-8").read().split("\n\n")
out = []
for block in blocks:
    if re.search(r"\{[a-z]+\}", block) and "msgid" in block:
        block = re.sub(r"^msgid", "#, python-brace-format\nmsgid", block, count=1, flags=re.M)
    out.append(block)
open(sys.argv[1], "w", encoding="utf-8").write("\n\n".join(out))
PYTHON

status=0
fail() {
	echo "translations: $*" >&2
	status=1
}
# Each literal that is to be translated was found.
grep -ohE '\b(tr|mark|say)\("([^"\\]|\\.)+"' "${sources[@]/#/$dir/sources/}" | sed -E 's/^[a-z]+\("(.*)"$/\1/' | sort -u >"$dir/wanted"
msgcat --no-wrap "$dir/picosnitch.pot" | sed -nE 's/^msgid(_plural)? "(.*)"$/\2/p' | sort -u >"$dir/found"
while read -r text; do fail "not extracted: $text"; done < <(grep -v '^$' "$dir/wanted" | grep -vxFf "$dir/found" | grep -vE '^(no such text|\{n\} rows?)$')
for po in data/po/*.po; do
	if [ "${1:-}" = --update ]; then
		msgmerge --quiet --no-fuzzy-matching --no-location --update --backup=none "$po" "$dir/picosnitch.pot"
		msgattrib --no-obsolete --no-location --output-file="$po" "$po"
	fi
	msgmerge --quiet --no-fuzzy-matching --output-file="$dir/merged.po" "$po" "$dir/picosnitch.pot"
	for kind in untranslated only-fuzzy; do
		msgattrib --$kind --no-obsolete --no-wrap --output-file="$dir/left.po" "$dir/merged.po"
		# An empty answer may be no file, or only the header.
		if [ -s "$dir/left.po" ] && grep -q '^msgid "..*"$' "$dir/left.po"; then
			grep '^msgid "..*"$' "$dir/left.po" >&2
			fail "$po: texts are ${kind#only-}"
		fi
		rm -f "$dir/left.po"
	done
	old=$(msgattrib --only-obsolete "$dir/merged.po" | grep -c '^#~ msgid' || true)
	[ "$old" = 0 ] || fail "$po: $old texts are no more in the sources (tests/translations.sh --update)"
	msgfmt --check --output-file=/dev/null "$dir/merged.po" || fail "$po: see above"
done
exit $status
