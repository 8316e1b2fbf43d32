/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sibling.h - private to net/: the way into a macvlan
 */
#pragma once

struct rb_err;

/**
 * rb_sibling_open - a packet socket on a macvlan of our own, in mode `bridge`
 * @parent: index of the device, in the namespace that we are in, whose macvlans are to be reached
 * @ret_index: of ours, to send to
 *
 * Return: descriptor: when it is closed, or its owner ends, the macvlan is gone.
 */
int rb_sibling_open(int parent, int *ret_index, struct rb_err *err);
