/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker.h - what a worker process does
 */
#pragma once

struct rb_config;

/**
 * rb_worker_main - body of `reberthd --worker KIND [ID]`
 * @kind: "plugin", "mesh" (network/agent.h); "network" (network/cluster.h: as "plan"); "source" (a
 *new migration), "recover" (what another worker left), "serve" (a peer's connection on standard
 *input), "push" (an image to other nodes, pushes.h), "plan" (a dry run: request on standard
 *input, answer on standard output), "diff" (what a push would send: likewise)
 *
 * SIGTERM cancels a migration; it does not end the process before it has rolled back.
 *
 * Return: exit status.
 */
int rb_worker_main(struct rb_config *config, const char *kind, const char *id);
