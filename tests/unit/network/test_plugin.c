// SPDX-License-Identifier: Apache-2.0
/*
 * test_plugin.c - what Docker asks when it makes a network, starts and stops containers
 */
#include "plugin.h"

#include <sys/eventfd.h>
#include <sys/wait.h>

#include "three.h"

/* the member of the answer, or its error */
static const char *answer(const char *path, json_t *body, const char *key)
{
	static char text[700];
	json_t *value = rb_plugin_answer(&three.node[0], path, body);

	snprintf(text, sizeof(text), "%s",
		 rb_json_str(value, key, rb_json_str(value, "Error", "nothing")));
	json_decref(value);
	json_decref(body);
	return text;
}

static json_t *about(const char *address, const char *kind)
{
	json_t *body = json_pack("{s:s, s:s, s:{}}", "PoolID", "0123456789abcdef", "Address",
				 address, "Options");

	if (kind)
		json_object_set_new(json_object_get(body, "Options"), "RequestAddressType",
				    json_string(kind));
	return body;
}

static void the_network_is_made(void)
{
	json_t *activate;
	uint32_t own;

	begin("10.20.0.0/24", NODES);
	activate = rb_plugin_answer(&three.node[0], "/Plugin.Activate", NULL);
	CHECK_STR(json_string_value(json_array_get(json_object_get(activate, "Implements"), 0)),
		  "IpamDriver");
	json_decref(activate);
	rb_ipam_gateway(&three.node[0], three.spec, &own, NULL);
	CHECK_STR(answer("/IpamDriver.RequestPool",
			 json_pack("{s:s, s:{s:s}}", "Pool", "10.20.0.0/24", "Options", "network",
				   "0123456789abcdef"),
			 "PoolID"),
		  "0123456789abcdef");
	CHECK_STR(answer("/IpamDriver.RequestAddress",
			 about("10.20.0.2", "com.docker.network.gateway"), "Address"),
		  "10.20.0.2/24");
	CHECK_STR(answer("/IpamDriver.RequestAddress", about("10.20.0.1", NULL), "Address"),
		  "10.20.0.1/24");
	CHECK(strstr(answer("/IpamDriver.RequestPool", json_object(), "PoolID"),
		     "reberth network"));
	end();
}

static void containers_come_and_go(void)
{
	begin("10.20.0.0/24", NODES);
	CHECK_STR(answer("/IpamDriver.RequestAddress", about("", NULL), "Address"), "10.20.0.2/24");
	CHECK(strstr(answer("/IpamDriver.RequestAddress", about("10.20.0.2", NULL), "Address"),
		     "in use"));
	CHECK_STR(answer("/IpamDriver.ReleaseAddress", about("10.20.0.2", NULL), "Error"),
		  "nothing");
	CHECK_STR(answer("/IpamDriver.RequestAddress", about("10.20.0.2", NULL), "Address"),
		  "10.20.0.2/24");
	end();
}

static void nonsense(void)
{
	begin("10.20.0.0/24", NODES);
	CHECK(rb_plugin_answer(&three.node[0], "/IpamDriver.Dance", NULL) == NULL);
	CHECK(strstr(answer("/IpamDriver.RequestAddress", NULL, "Address"), "no network"));
	CHECK(strstr(answer("/IpamDriver.RequestAddress", about("10.20.0", NULL), "Address"),
		     "not an IPv4 address"));
	CHECK(strstr(
		answer("/IpamDriver.RequestAddress", json_pack("{s:i}", "PoolID", 1), "Address"),
		"no network"));
	end();
}

/* as Docker does: a POST over the socket */
static void over_http(void)
{
	static const char request[] =
		"POST /IpamDriver.RequestAddress HTTP/1.1\r\nHost: p\r\nContent-Length: 50\r\n"
		"Connection: close\r\n\r\n"
		"{\"PoolID\":\"0123456789abcdef\",\"Address\":\"\",\"x\":\"y\"}";
	_cleanup_close_ int stop = eventfd(0, EFD_CLOEXEC), fd = -EBADF;
	char path[64], got[2048] = "";
	struct rb_err err = {};
	uint64_t one = 1;
	int status;
	pid_t pid;

	begin("10.20.0.0/24", NODES);
	snprintf(path, sizeof(path), "%s/plugin.sock", three.dir);
	pid = fork();
	if (pid == 0)
		_exit(rb_plugin_serve(&three.node[0], path, stop, &err) == 0 ? 0 : 1);
	for (int i = 0; i < 500 && fd < 0; i++) {
		fd = rb_unix_connect(path, NULL);
		usleep(10000);
	}
	CHECK(fd >= 0);
	CHECK_INT(rb_write_all(fd, request, sizeof(request) - 1), 0);
	rb_read_all(fd, got, sizeof(got) - 1);
	CHECK(strstr(got, "200 OK"));
	CHECK(strstr(got, "10.20.0.2/24"));
	CHECK(write(stop, &one, sizeof(one)) == sizeof(one));
	waitpid(pid, &status, 0);
	CHECK_INT(status, 0);
	end();
}

int main(void)
{
	TAP_RUN(the_network_is_made);
	TAP_RUN(containers_come_and_go);
	TAP_RUN(nonsense);
	TAP_RUN(over_http);
	return tap_done();
}
