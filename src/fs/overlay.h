/* SPDX-License-Identifier: Apache-2.0 */
/*
 * overlay.h - a container's writable layer as overlayfs keeps it
 */
#pragma once

struct rb_err;

/** Where a mounted overlay lies; fixed sizes, long option strings are malloc'd. */
struct rb_overlay {
	char merged[4096];
	char upper[4096];    /* absolute */
	char work[4096];     /* absolute */
	char base[4096];     /* folder that relative paths in @options start from; may be "" */
	char *options;	     /* as given to mount(2), complete, lowerdir and all */
	unsigned long flags; /* MS_* */
};

/**
 * rb_overlay_find - the overlay mounted at @merged (topmost, if several), from
 * /proc/self/mountinfo
 *
 * Docker and containerd name lower folders relative to a folder that they change to before
 * mounting ("l/ABC", "12/fs"), and mountinfo shows them so. It is looked for around @merged and
 * around the upper folder.
 *
 * Return: 0, -ENOENT if nothing is mounted there, -EINVAL with RB_E_REFUSED when it is no overlay
 * or has no upper folder, or another negative errno. @ret is untouched on failure.
 */
int rb_overlay_find(const char *merged, struct rb_overlay *ret, struct rb_err *err);

/** rb_overlay_free - NULL is allowed */
void rb_overlay_free(struct rb_overlay *overlay);

/**
 * rb_overlay_detach / rb_overlay_attach - take it away while its upper folder is written to behind
 * the overlay's back, then mount the very same again (overlayfs caches what it has looked up)
 *
 * Detach refuses (-EBUSY) rather than umounting lazily: when somebody has a file open in it, or
 * when another mount namespace still shows it, since its caches live as long as any mount of it.
 * In the latter case the very mount is put back before the error is returned.
 *
 * Needs CAP_SYS_ADMIN in dockerd's mount namespace.
 *
 * Return: 0 or negative errno.
 */
int rb_overlay_detach(const struct rb_overlay *overlay, struct rb_err *err);
int rb_overlay_attach(const struct rb_overlay *overlay, struct rb_err *err);
