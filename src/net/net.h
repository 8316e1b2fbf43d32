/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net.h - silence a container's network, and let it speak again
 *
 * All calls name a network namespace by a descriptor and work in a thread or child process that
 * joins it, so the caller's own namespace never changes. They need CAP_SYS_ADMIN and CAP_NET_ADMIN.
 */
#pragma once

#include <jansson.h>
#include <limits.h>
#include <stdbool.h>

struct rb_buf;
struct rb_err;
struct rb_wait;

#define RB_MAC_TEXT 18 /* "02:00:0a:58:00:01" */

/** rb_mac_text - a hardware address as tools write it. Return: @ret */
const char *rb_mac_text(char ret[RB_MAC_TEXT], const void *mac);

/** rb_netns_open - the network namespace of a process. Return: descriptor or negative errno. */
int rb_netns_open(int pid, struct rb_err *err);

/** rb_netns_inode - its inode number, as CRIU names it */
int rb_netns_inode(int netns_fd, unsigned long *ret, struct rb_err *err);

/** Stands for the caller's own namespace; no failed open(2) looks like it. */
#define RB_NETNS_OWN INT_MIN

/**
 * rb_netns_run - call a function in a thread that has joined a network namespace, and wait for it
 * @netns_fd: or RB_NETNS_OWN
 * @fn: returns 0 or positive for success, or a negative errno with @err filled; closes what it
 * opens, or hands it back; does not fork, and leaves libnftables alone. /proc/self is another
 * thread, /proc/thread-self and /proc/sys are right
 *
 * Return: what @fn returned, which may be a descriptor: a socket stays in the namespace.
 */
int rb_netns_run(int netns_fd, int (*fn)(void *arg, struct rb_err *err), void *arg,
		 struct rb_err *err);

/**
 * rb_netns_fork - the same in a child process; what @fn writes to memory is lost but for its result
 * and @err
 *
 * Takes milliseconds where much is mapped. Return: what @fn returned, -EIO when the child died.
 */
int rb_netns_fork(int netns_fd, int (*fn)(void *arg, struct rb_err *err), void *arg,
		  struct rb_err *err);

/** rb_cables_of - the namespace's devices that this host has put there: an array of the indices of
 * veths that end in our own namespace, and of macvlans. One that is taken away and put there again
 * has another index. */
int rb_cables_of(int netns_fd, json_t **ret, struct rb_err *err);

/**
 * rb_silence_on - nothing leaves or enters the namespace any more, on layers 2 and 3
 *
 * Tables `netdev reberth` (ingress and egress of every device but lo, whose ingress only keeps what
 * is captured from going on), `inet reberth` and `arp reberth` (also devices that appear later). No
 * frame of a dying socket, no ARP, no neighbour discovery gets out; loopback traffic inside passes.
 * Idempotent; a second call takes in new devices. Refused for the host's own namespace, that of PID
 * 1 and of our parent.
 */
int rb_silence_on(int netns_fd, struct rb_err *err);

/** rb_silence_prepare - make the tables, with open gates but for those that are shut, whatever
 * stands there: the other calls take 0.3 ms then. Ends with rb_silence_off() */
int rb_silence_prepare(int netns_fd, struct rb_err *err);

/** rb_silence_hearing - the first half of rb_silence_on(): nothing enters any more. What arrives
 * can be had from an rb_capture, where the kernel has `fwd` in nftables (all of Debian's do). */
int rb_silence_hearing(int netns_fd, struct rb_err *err);

/**
 * rb_silence_loopback - stop traffic over lo, too, but for CRIU's own packets
 *
 * Only while no task runs: after the freeze and before the dump on the source; on the target before
 * the restore, until the tasks are let go. Needed for containers with TCP connections to themselves
 * where CRIU is told `network-lock skip`; see silence.c. Ends with rb_silence_lift() or _off().
 * Return: -ENOENT without silence.
 */
int rb_silence_loopback(int netns_fd, struct rb_err *err);

/** rb_silence_all - rb_silence_on() and rb_silence_loopback() in one */
int rb_silence_all(int netns_fd, struct rb_err *err);

/** rb_silence_speak - the gate for what leaves opens, and lo's; that for what arrives stays as it
 * is. Return: -ENOENT without silence. */
int rb_silence_speak(int netns_fd, struct rb_err *err);

/**
 * rb_silence_lift - let everything pass, leave the tables where they are; absent is fine
 *
 * For the moments that count: 0.1 ms, where rb_silence_off() takes 10 to 20 (traffic flows after
 * the first of them, but the kernel makes us wait until no processor can be in the old rules).
 */
int rb_silence_lift(int netns_fd, struct rb_err *err);

/** rb_silence_off - remove these tables; absent is fine */
int rb_silence_off(int netns_fd, struct rb_err *err);

/** rb_silence_is_on - 1 (tables there and whole, gates shut), 0 or negative errno */
int rb_silence_is_on(int netns_fd, struct rb_err *err);

/**
 * rb_guard_on / rb_guard_off - target host: bridge-family rule in the host's own namespace that
 * drops frames with source @mac that come from a local container port (a veth other than an
 * uplink), before the bridge learns the address; so that not even Docker's own gratuitous ARP gets
 * out
 * @id: names the table (reberth_<id>), for journal and clean-up
 * @macs: array of "aa:bb:..." texts
 */
int rb_guard_on(const char *id, const json_t *macs, struct rb_err *err);
int rb_guard_off(const char *id, struct rb_err *err);

/**
 * rb_park / rb_unpark - hide the container's macvlans from their siblings on this host, which would
 * reach them past any switch (park.c); both may be repeated
 *
 * Return: number of macvlans, parked before or now, or negative errno.
 */
int rb_park(int netns_fd, struct rb_err *err);
int rb_unpark(int netns_fd, struct rb_err *err);

/**
 * rb_passon_open / rb_passon_end - what comes to macvlans that appear in between, in the time until
 * they are parked, is sent on to the container's old place; to be ended after rb_park() and before
 * rb_silence_on()
 *
 * Return: of the first, a descriptor, for close(2); of the second, the number of frames.
 */
int rb_passon_open(int netns_fd, struct rb_err *err);
int rb_passon_end(int netns_fd, int fd, struct rb_err *err);

/** rb_announce - tell the segment where the addresses are now: gratuitous ARP and unsolicited
 * neighbour advertisements for each address of each device but lo, @times times, 100 ms apart (the
 * first at once). One failing device does not keep the others from being announced. -ENOBUFS: the
 * silence is on */
int rb_announce(int netns_fd, int times, struct rb_err *err);

/**
 * rb_dad_suspend / rb_dad_resume - devices that appear in our own namespace in between use their
 * IPv6 addresses at once, without asking for duplicates
 * @ret_was: what is to be given to rb_dad_resume()
 */
int rb_dad_suspend(int *ret_was, struct rb_err *err);
void rb_dad_resume(int was);

/**
 * rb_udp_waiting - bytes that wait in the UDP sockets of a process's network namespace for somebody
 * to read them; CRIU does not save them
 *
 * Return: 0 also when that cannot be told.
 */
unsigned long rb_udp_waiting(int pid);

/** rb_tcp_waiting - bytes that wait in its TCP connections, to be read and to be sent; likewise */
unsigned long rb_tcp_waiting(int pid);

/** rb_net_mend - undo what a killed CRIU left in the namespace: iptables chain CRIU and jumps to
 * it, ip6tables likewise, nft tables inet CRIU-* ; absent is fine */
int rb_net_mend(int netns_fd, struct rb_err *err);

/**
 * rb_tcp_repair_off - take every TCP socket of a (frozen) process out of repair mode
 *
 * Through pidfd_getfd(2); needs CAP_SYS_PTRACE. Return: number of sockets mended or negative errno.
 */
int rb_tcp_repair_off(int pid, struct rb_err *err);
