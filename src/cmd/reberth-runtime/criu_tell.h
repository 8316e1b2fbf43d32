/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/** tell_server - as `reberth-runtime criu-action SOCKET` does for "post-dump", without starting it:
 * say so to the dump server, and wait for its answer. Return: exit status, 0 to go on */
int tell_server(const char *socket_path, const char *action);
