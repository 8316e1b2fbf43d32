/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon.h - the loop of reberthd
 */
#pragma once

struct rb_config;

/** rb_daemon_main - serve peers and the local API until SIGTERM. Return: exit status. */
int rb_daemon_main(struct rb_config *config);
