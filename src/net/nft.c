// SPDX-License-Identifier: Apache-2.0
/*
 * nft.c - run nftables commands through libnftables
 *
 * libnftables reports failures as text. The kernel's errno is found again by its strerror(), which
 * is in English as long as nobody calls setlocale(); no program of ours does.
 */
#include "nft.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <nftables/libnftables.h>

#include "cleanup.h"
#include "err.h"
#include "io.h"

static void free_ctx(struct nft_ctx **ctx)
{
	if (*ctx)
		nft_ctx_free(*ctx);
}

static int errno_of_text(const char *text)
{
	static const int known[] = { ENOENT, EOPNOTSUPP,      EAFNOSUPPORT, EPERM,   EEXIST,
				     EBUSY,  EPROTONOSUPPORT, ENOMEM,	    ENOBUFS, EINVAL };

	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (strstr(text, strerror(known[i])))
			return known[i];
	/* a libnftables that is too old for a hook does not know its word either */
	return strstr(text, "syntax error") ? EOPNOTSUPP : EIO;
}

/* "Error: Could not process rule: Operation not supported", without the excerpt below it */
static int report(const char *text, struct rb_err *err)
{
	int errnum = errno_of_text(text);

	if (strncmp(text, "Error: ", 7) == 0)
		text += 7;
	return rb_err_code(err, RB_E_INTERNAL, -errnum, "nftables: %.*s", (int)strcspn(text, "\n"),
			   *text ? text : "failed without a reason");
}

static int run(const char *commands, unsigned int flags, struct rb_buf *ret_out, struct rb_err *err)
{
	_cleanup_(free_ctx) struct nft_ctx *ctx = nft_ctx_new(NFT_CTX_DEFAULT);
	const char *out;

	if (!ctx || nft_ctx_buffer_output(ctx) || nft_ctx_buffer_error(ctx))
		return rb_err_set(err, -ENOMEM, "start libnftables");
	nft_ctx_output_set_flags(ctx, flags);
	if (nft_run_cmd_from_buffer(ctx, commands))
		return report(nft_ctx_get_error_buffer(ctx), err);
	out = nft_ctx_get_output_buffer(ctx);
	if (ret_out && out && rb_buf_add(ret_out, out, strlen(out)) < 0)
		return rb_err_set(err, -ENOMEM, "read from libnftables");
	return 0;
}

int rb_nft_run(const char *commands, struct rb_buf *ret_out, struct rb_err *err)
{
	return run(commands, 0, ret_out, err);
}

int rb_nft_list_handles(const char *commands, struct rb_buf *ret_out, struct rb_err *err)
{
	return run(commands, NFT_CTX_OUTPUT_HANDLE, ret_out, err);
}

int rb_nft_list_json(const char *commands, struct rb_buf *ret_out, struct rb_err *err)
{
	return run(commands, NFT_CTX_OUTPUT_JSON, ret_out, err);
}

int rb_nft_word_ok(const char *word, unsigned long len)
{
	if (len < 1 || len > 31)
		return false;
	for (unsigned long i = 0; i < len; i++)
		if (!isalnum((unsigned char)word[i]) && !strchr("._-", word[i]))
			return false;
	return true;
}
