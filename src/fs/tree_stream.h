/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tree_stream.h - what both ends of a tree's stream agree on, see tree.h (inside of fs/ only)
 */
#pragma once

#define TREE_HEAD_SIZE 16
#define TREE_MAGIC     "RBTREE1\n"
#define TREE_SOCKET    "reberth.socket" /* attribute of a FIFO that stands for a socket */
