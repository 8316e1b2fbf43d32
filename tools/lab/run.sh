# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# run.sh - last step of `lab sh`: fork into the host's process namespace and stand in for the command
#
# Our own process is in all of the host's namespaces but that of processes,
# which only children enter. So the command is a child, and we are seen to be
# it: Ctrl-C reaches both and is the command's to handle, other signals are
# passed on, our death is its death, its status is ours.

trap '' INT QUIT
env --default-signal=INT,QUIT setpriv --pdeathsig KILL -- "$@" <&0 &
child=$!
for signal in TERM HUP USR1 USR2; do
	# shellcheck disable=SC2064 # both are known now
	trap "interrupted=yes; kill -$signal $child" "$signal"
done

# A trapped signal ends `wait` early.
while :; do
	interrupted=no
	wait "$child"
	status=$?
	[[ $interrupted == yes ]] || exit "$status"
done
