/* SPDX-License-Identifier: Apache-2.0 */
/*
 * criu_act.h - CRIU's action script, without starting anything (criu_act.c)
 */
#pragma once

#define ACT_NOT_OURS (-1)

/** act - do what the action script would do now. Return: its exit status, or ACT_NOT_OURS */
__attribute__((visibility("hidden"))) int act(void);
