/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fault.h - named fault points, for tests that break a migration at a chosen place
 *
 * A point is a place in the code with a name, "source.freeze.begin" say. The file <run_dir>/faults
 * arms points, one a line: "<point> <action> [count]". Actions:
 *
 *   pause    write "<point> <pid>\n" to <run_dir>/fault.reached and stand still until that file is
 *            removed: the test does its worst meanwhile. Not interrupted by cancel or deadlines.
 *   hang     stand still until cancelled or out of time
 *   kill     SIGKILL ourselves
 *   fail     return -EIO
 *   enospc   return -ENOSPC
 *
 * With a count N the point acts N times in all (kept in the file), otherwise each time. Without
 * the file a point costs one failed open(2). Only root can write there, who can do worse anyway.
 */
#pragma once

struct rb_err;
struct rb_wait;

/** rb_fault_setup - where the file is looked for; without a call no point ever acts */
void rb_fault_setup(const char *run_dir);

/** rb_fault_point - pass a point. Return: 0, or what the armed action says. */
int rb_fault_point(const char *point, const struct rb_wait *wait, struct rb_err *err);
