// SPDX-License-Identifier: Apache-2.0
/*
 * peer.c - ask the peer's journal
 *
 * After a broken conversation nobody tries to continue it: each side only asks what the other's
 * journal says. The question has a connection of its own, and any host may be asked at any time.
 */
#include <errno.h>

#include "cleanup.h"
#include "conn.h"
#include "err.h"
#include "json.h"
#include "migration.h"
#include "peer.h"

int rb_peer_state(struct rb_migration *m, enum rb_state *ret_state, const struct rb_wait *wait,
		  struct rb_err *err)
{
	const char *address = rb_json_str(m->node->peers, m->entry.peer, NULL);
	_cleanup_json_ json_t *args = json_pack("{s:s}", "id", m->entry.id), *answer = NULL;
	struct rb_conn *conn = NULL;
	int r;

	if (!address)
		return rb_err_code(err, RB_E_NOT_FOUND, -ENOENT, "node '%s' is not known here",
				   m->entry.peer);
	r = rb_conn_connect(m->node->tls, address, m->entry.peer, wait, &conn, err);
	if (r >= 0)
		r = rb_conn_call(conn, "query", args, wait, err);
	if (r >= 0)
		r = rb_conn_reply(conn, &answer, wait, err);
	rb_conn_free(conn);
	if (r < 0)
		return r;
	m->peer_rebooted = rb_json_bool(answer, "rebooted", false);
	*ret_state = rb_state_parse(rb_json_str(answer, "state", NULL));
	return 0;
}
