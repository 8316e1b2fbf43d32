# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034
#
# openflow - Open vSwitch's test controller: the switches that connect become learning switches, by
# flows that last until they are asked to forget them

base=rb-base
packages=(openvswitch-testcontroller)
config='{"Cmd": ["ovs-testcontroller", "--max-idle=permanent", "--log-file=/dev/null", "-vconsole:info", "ptcp:6653"],
	"ExposedPorts": {"6653/tcp": {}}}'

files() { mkdir -p "$1/var/run/openvswitch" "$1/var/log/openvswitch"; }
