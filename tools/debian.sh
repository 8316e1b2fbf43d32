# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# debian.sh - which Debian this is, and where its apt takes it from

# Print the codename of this Debian, as a suite of the archive is called.
debian_suite() { sed -n 's/^VERSION_CODENAME=//p' /etc/os-release; }

# Print the address from which apt takes this machine's Debian (not its
# security updates, which have an archive of their own).
debian_archive() {
	# shellcheck disable=SC2016 # apt fills these in
	apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
		awk -v codename="$(debian_suite)" '($1 == codename || $1 ~ /^((old)?stable|testing)$/) &&
			$2 == "main" { print $3; exit }'
}
