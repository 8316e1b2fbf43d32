# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034,SC2016
#
# rb-base - a small Debian, the machine's own suite: below redis, nginx and postgres

config='{"Cmd": ["sh"]}'

bootstrap() {
	local sources
	sources=$(debian_sources)
	[[ -n $sources ]] || die "no Debian archive in the apt configuration"
	SOURCE_DATE_EPOCH=$LAYER_EPOCH mmdebstrap --quiet --mode=root --format=tar --variant=minbase \
		--dpkgopt=force-unsafe-io --aptopt='APT::Sandbox::User "root"' \
		--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
		--dpkgopt='path-exclude=/usr/share/info/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
		--customize-hook=': >"$1/etc/apt/sources.list"; rm -f "$1/etc/hostname"; : >"$1/etc/resolv.conf"' \
		"$(debian_suite)" "$1" - <<<"$sources"
}
