// SPDX-License-Identifier: Apache-2.0
/*
 * test_storage.c - what becomes of volumes and bind mounts on the source
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "engine.h"
#include "err.h"
#include "io.h"
#include "json.h"
#include "migration.h"
#include "obstacles.h"
#include "place.h"
#include "storage.h"
#include "tap.h"

static char top[PATH_MAX] = "/tmp/reberth-storage-XXXXXX";
static const struct rb_node node = { .name = "h1",
				     .state_dir = "/var/lib/reberth",
				     .run_dir = "/run/reberth" };

/* "<top>/name" in the place of each "@name@" */
static json_t *parse(const char *format)
{
	_cleanup_buf_ struct rb_buf text = {};

	for (const char *at = format; *at; at++)
		if (*at == '@')
			rb_buf_addf(&text, "%s", top);
		else
			rb_buf_add(&text, at, 1);
	rb_buf_add(&text, "", 1);
	return json_loads(text.data, 0, NULL);
}

struct outcome {
	struct rb_migration m;
	json_t *obstacles;
};

static void release(struct outcome *o)
{
	json_decref(o->m.entry.facts);
	json_decref(o->obstacles);
}

static void settle(struct outcome *o, const char *facts)
{
	*o = (struct outcome){ .m = { .node = &node, .members_count = 1 },
			       .obstacles = json_array() };
	o->m.entry.facts = parse(facts);
	o->m.members[0].facts = o->m.entry.facts;
	rb_storage_settle(&o->m, &o->m.members[0], o->obstacles, NULL, NULL);
}

static const char *field(const struct outcome *o, const char *list, size_t i, const char *key)
{
	return rb_json_str(json_array_get(json_object_get(o->m.entry.facts, list), i), key, "");
}

static const char *first_obstacle(const struct outcome *o)
{
	return rb_json_str(json_array_get(o->obstacles, 0), "what", "");
}

#define BIND(source) "{\"source\":\"" source "\",\"destination\":\"/x\",\"rw\":true}"

static void nothing_is_copied_unasked(void)
{
	_cleanup_(release) struct outcome o;

	settle(&o, "{\"binds\":[" BIND("@/folder") "]}");
	CHECK_INT(json_array_size(o.obstacles), 1);
	CHECK(strstr(first_obstacle(&o), "is not copied unasked"));
	CHECK_STR(field(&o, "binds", 0, "how"), "");
}

static void folders_and_files_are_copied_if_asked_for(void)
{
	_cleanup_(release) struct outcome o;

	settle(&o, "{\"with_bind\":true,\"binds\":[" BIND("@/folder") "," BIND(
			   "@/folder/file") "," BIND("@/alone") "]}");
	CHECK_STR(first_obstacle(&o), "");
	CHECK_STR(field(&o, "binds", 1, "how"), "copied");
	rb_storage_settle_inside(&o.m, o.obstacles);
	CHECK_STR(field(&o, "binds", 0, "how"), "copied");
	CHECK_STR(field(&o, "binds", 0, "kind"), "folder");
	/* it travels with the folder */
	CHECK_STR(field(&o, "binds", 1, "how"), "inside");
	CHECK_STR(field(&o, "binds", 2, "how"), "copied");
	CHECK_STR(field(&o, "binds", 2, "kind"), "file");
	CHECK(rb_json_int(json_array_get(json_object_get(o.m.entry.facts, "binds"), 0), "bytes",
			  0) >= 4096);
}

static void one_that_is_named_does_not_stand_for_others(void)
{
	_cleanup_(release) struct outcome o;

	settle(&o, "{\"binds_wanted\":[\"@/alone\"],\"binds\":[" BIND("@/folder") "," BIND(
			   "@/alone") "]}");
	CHECK_INT(json_array_size(o.obstacles), 1);
	CHECK(strstr(first_obstacle(&o), "/folder' of this host"));
	CHECK_STR(field(&o, "binds", 1, "how"), "copied");
}

static void what_has_no_content_is_refused(void)
{
	_cleanup_(release) struct outcome o;

	settle(&o, "{\"with_bind\":true,\"binds\":[" BIND("@/pipe") "," BIND("@/nothing") "]}");
	CHECK_INT(json_array_size(o.obstacles), 2);
	CHECK(strstr(first_obstacle(&o), "neither a folder nor a file"));
}

static void what_the_user_declares_is_shared_whatever_it_is(void)
{
	_cleanup_(release) struct outcome o;
	_cleanup_json_ json_t *list = NULL;

	settle(&o, "{\"shared_volumes\":[\"@/folder\",\"v\"],\"binds\":[" BIND(
			   "@/folder") "],\"volumes\":[{\"name\":\"v\",\"driver\":\"other\","
				       "\"source\":\"@/alone\"}]}");
	CHECK_STR(first_obstacle(&o), "");
	CHECK_STR(field(&o, "binds", 0, "how"), "shared");
	CHECK_STR(field(&o, "volumes", 0, "how"), "shared");
	list = rb_storage_list(&o.m);
	CHECK_INT(json_array_size(list), 2);
	CHECK_STR(rb_json_str(json_array_get(list, 0), "volume", ""), "v");
	CHECK(rb_json_bool(json_array_get(list, 1), "declared", false));
}

static void volumes_are_copied_if_they_are_plain(void)
{
	_cleanup_(release) struct outcome o;

	settle(&o, "{\"volumes\":[{\"name\":\"a\",\"driver\":\"local\",\"source\":\"@/folder\"},"
		   "{\"name\":\"b\",\"driver\":\"other\",\"source\":\"@/folder\"},"
		   "{\"name\":\"c\",\"driver\":\"local\",\"options\":{\"o\":\"bind\"},"
		   "\"source\":\"@/folder\"}]}");
	CHECK_INT(json_array_size(o.obstacles), 2);
	CHECK_STR(first_obstacle(&o),
		  "volume 'b' has a driver or options of its own, and cannot be copied");
	CHECK_STR(field(&o, "volumes", 0, "how"), "copied");
}

/* an init whose mounts are ours: they are all of whole file systems */
static void what_was_replaced_is_not_what_the_container_has(void)
{
	_cleanup_(release) struct outcome o = { .m = { .node = &node, .members_count = 1 },
						.obstacles = json_array() };

	o.m.entry.facts = parse("{\"with_bind\":true,\"binds\":[" BIND("@/folder") "]}");
	o.m.members[0].facts = o.m.entry.facts;
	json_object_set_new(o.m.entry.facts, "init_pid", json_integer(getpid()));
	rb_storage_settle(&o.m, &o.m.members[0], o.obstacles, NULL, NULL);
	CHECK(strstr(first_obstacle(&o), "it was replaced meanwhile"));
}

static void what_the_user_names_must_be_there(void)
{
	static const struct {
		const char *facts, *says;
	} cases[] = {
		{ "{\"binds_wanted\":[\"/a\"],\"binds\":[" BIND("/a") "]}", NULL },
		{ "{\"binds_wanted\":[\"/b\"],\"binds\":[" BIND("/a") "]}",
		  "no bind mount of '/b'" },
		{ "{\"binds_wanted\":[\"v\"],\"volumes\":[{\"name\":\"v\"}]}",
		  "no bind mount of 'v'" },
		{ "{\"shared_volumes\":[\"v\"],\"volumes\":[{\"name\":\"v\"}]}", NULL },
		{ "{\"shared_volumes\":[\"v\"],\"members\":[{\"volumes\":[{\"name\":\"v\"}]}]}",
		  NULL },
		{ "{\"shared_volumes\":[\"w\"],\"volumes\":[{\"name\":\"v\"}]}",
		  "no volume and no bind mount 'w'" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		_cleanup_json_ json_t *facts = parse(cases[i].facts);
		struct rb_err err = {};

		printf("# %s\n", cases[i].facts);
		CHECK_INT(rb_storage_check_request(facts, &err), cases[i].says ? -EINVAL : 0);
		CHECK(!cases[i].says || strstr(err.msg, cases[i].says));
	}
}

static void paths_that_never_travel(void)
{
	static const struct {
		const char *path;
		bool forbidden;
	} cases[] = {
		{ "/", true },
		{ "/proc", true },
		{ "/proc/sys/net", true },
		{ "/process", false },
		{ "/sys/fs/cgroup", true },
		{ "/dev/shm", true },
		{ "/devel", false },
		{ "/run/docker.sock", true },
		{ "/srv/docker.sock.d/conf", false },
		{ "/srv/docker.sockets", false },
		{ "/run/docker/plugins", true },
		{ "/run/docker-data", false },
		{ "/run/containerd/containerd.sock", true },
		{ "/var/lib/containerd", true },
		{ "/run", true },
		{ "/var/lib/docker", true },
		{ "/var/lib/docker/volumes/x", true },
		{ "/var/lib/dockers", false },
		{ "/var/lib", true },
		{ "/var/lib/reberth/migrations", true },
		{ "/run/reberth", true },
		{ "/run/app", false },
		{ "/srv", false },
		{ "/home/user/data", false },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		printf("# %s\n", cases[i].path);
		CHECK_INT(rb_path_forbidden(&node, cases[i].path, "/var/lib/docker") != NULL,
			  cases[i].forbidden);
	}
}

/* 0: no lock of ours on the folder, 1: one, or 99. In a mount namespace of its own, where @what is
 * mounted. */
static int locks_in_child(const char *what, const char *opened)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		char from[PATH_MAX + 16], to[PATH_MAX + 16], file[PATH_MAX + 64];
		struct rb_place place;
		int fd;

		rb_path(from, sizeof(from), "%s/%s", top, what);
		rb_path(to, sizeof(to), "%s/mounted", top);
		rb_path(file, sizeof(file), "%s/%s", top, opened);
		mkdir(to, 0755);
		if (unshare(CLONE_NEWNS) < 0 ||
		    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
		    mount(from, to, NULL, MS_BIND, NULL) < 0 ||
		    rb_path(from, sizeof(from), "%s/folder", top) < 0 ||
		    rb_place_find("/proc/self/mountinfo", from, &place, NULL) < 0)
			_exit(99);
		fd = open(file, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || rb_storage_task_locks(getpid(), &place, NULL) ||
		    flock(fd, LOCK_SH) < 0)
			_exit(99);
		_exit(rb_storage_task_locks(getpid(), &place, NULL));
	}
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : 99;
}

static void locks_are_found_by_the_mount_that_they_are_on(void)
{
	CHECK_INT(locks_in_child("folder", "mounted/file"), 1);
	/* the same file, by another way: another volume of the same disk, say */
	CHECK_INT(locks_in_child("folder", "folder/file"), 0);
	/* a part of the volume is mounted, as with volume-subpath */
	CHECK_INT(locks_in_child("folder/sub", "mounted/deep"), 1);
}

/* --- links, and other names of the same --- */

static void link_to(const char *name, const char *target)
{
	char path[PATH_MAX + 16];

	rb_path(path, sizeof(path), "%s/%s", top, name);
	if (symlink(target, path) < 0)
		abort();
}

static void put_text(const char *name, const char *text)
{
	char path[PATH_MAX + 16];

	rb_path(path, sizeof(path), "%s/%s", top, name);
	if (rb_write_file(path, text, strlen(text), 0644, false, NULL) < 0)
		abort();
}

static void a_link_out_of_a_folder_is_not_inside_of_it(void)
{
	_cleanup_(release) struct outcome o;

	settle(&o,
	       "{\"with_bind\":true,\"binds\":[" BIND("@/folder") "," BIND("@/folder/out") "]}");
	CHECK_STR(first_obstacle(&o), "");
	rb_storage_settle_inside(&o.m, o.obstacles);
	CHECK_INT(json_array_size(o.obstacles), 1);
	CHECK(strstr(first_obstacle(&o), "/folder/out' leads out of '"));
	CHECK_STR(field(&o, "binds", 1, "how"), "copied");
}

static void a_link_into_a_folder_is_not_another_one(void)
{
	_cleanup_(release) struct outcome o;

	settle(&o, "{\"with_bind\":true,\"binds\":[" BIND("@/into") "," BIND("@/folder") "]}");
	CHECK_STR(first_obstacle(&o), "");
	rb_storage_settle_inside(&o.m, o.obstacles);
	CHECK_INT(json_array_size(o.obstacles), 1);
	CHECK(strstr(first_obstacle(&o), "/into' leads into '"));
}

static void what_was_settled_is_what_is_opened(void)
{
	_cleanup_(release) struct outcome o;
	_cleanup_close_ int fd = -EBADF;
	char from[PATH_MAX + 16], to[PATH_MAX + 16];
	struct rb_err err = {};
	const json_t *bind;

	put_text("mine", "mine");
	settle(&o, "{\"with_bind\":true,\"binds\":[" BIND("@/mine") "]}");
	bind = json_array_get(json_object_get(o.m.entry.facts, "binds"), 0);
	fd = rb_storage_open(bind, &err);
	CHECK(fd >= 0);
	/* the old one is kept, so that its number is not used again */
	put_text("secret", "of the host");
	rb_path(from, sizeof(from), "%s/secret", top);
	rb_path(to, sizeof(to), "%s/mine", top);
	CHECK_INT(rename(from, to), 0);
	CHECK_INT(rb_storage_open(bind, &err), -ESTALE);
	CHECK(strstr(err.msg, "was replaced meanwhile"));
	CHECK_INT(unlink(to), 0);
	CHECK_INT(symlink("/etc/shadow", to), 0);
	CHECK_INT(rb_storage_open(bind, &err), -ESTALE);
	CHECK_INT(unlink(to), 0);
}

/* name of the one that uses it, or "" */
static const char *user(const char *mounts, const char *volume, const char *path)
{
	_cleanup_json_ json_t *running = parse(mounts);
	char full[PATH_MAX + 64];
	static char ret[32];
	const char *name;

	rb_path(full, sizeof(full), "%s/%s", top, path);
	snprintf(ret, sizeof(ret), "%s",
		 rb_storage_user(running, volume, full, NULL, &name) > 0 ? name : "");
	return ret;
}

#define OTHER(type, name, source)                                             \
	"[{\"Id\":\"1\",\"Names\":[\"/other\"],\"Mounts\":[{\"Type\":\"" type \
	"\",\"Name\":\"" name "\",\"Source\":\"" source "\"}]}]"

static void who_uses_it_by_another_path(void)
{
	CHECK_STR(user(OTHER("bind", "", "@/folder"), NULL, "folder"), "other");
	CHECK_STR(user(OTHER("bind", "", "@/into"), NULL, "folder"), "other");
	CHECK_STR(user(OTHER("bind", "", "@/folder"), NULL, "into"), "other");
	CHECK_STR(user(OTHER("bind", "", "@/into/file"), NULL, "folder"), "other");
	CHECK_STR(user(OTHER("bind", "", "@/into"), NULL, "folder/file"), "other");
	CHECK_STR(user(OTHER("bind", "", "@/alone"), NULL, "hard"), "other");
	CHECK_STR(user(OTHER("bind", "", "@/folder2"), NULL, "folder"), "");
	CHECK_STR(user(OTHER("bind", "", "@/alone"), NULL, "folder"), "");
	CHECK_STR(user(OTHER("bind", "", "/"), NULL, "folder"), "");
	CHECK_STR(user(OTHER("tmpfs", "", ""), NULL, "folder"), "");
	/* a volume's files: by its name, and by what Docker calls them */
	CHECK_STR(user(OTHER("volume", "v", "@/docker/v/_data"), "v", "docker/v/_data"), "other");
	CHECK_STR(user(OTHER("bind", "", "@/docker/v/_data"), "v", "docker/v/_data"), "other");
	CHECK_STR(user(OTHER("bind", "", "@/docker/v/_data/sub"), "v", "docker/v/_data"), "other");
	CHECK_STR(user(OTHER("bind", "", "@/docker/v"), "v", "docker/v/_data"), "other");
	CHECK_STR(user(OTHER("volume", "w", "@/docker/w/_data"), "v", "docker/v/_data"), "");
	/* who looks after all of them */
	CHECK_STR(user(OTHER("bind", "", "@/docker"), "v", "docker/v/_data"), "");
}

/* in a mount namespace of its own: 0, 1 or 99 */
static int used_by_a_mount_of_the_host(void)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		char from[PATH_MAX + 16], to[PATH_MAX + 16];

		rb_path(from, sizeof(from), "%s/folder", top);
		rb_path(to, sizeof(to), "%s/mounted", top);
		mkdir(to, 0755);
		if (unshare(CLONE_NEWNS) < 0 ||
		    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
		    mount(from, to, NULL, MS_BIND, NULL) < 0)
			_exit(99);
		_exit(strcmp(user(OTHER("bind", "", "@/mounted/sub"), NULL, "folder"), "other") ==
		      0);
	}
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : 99;
}

static void who_uses_it_by_a_mount_of_the_host(void)
{
	CHECK_INT(used_by_a_mount_of_the_host(), 1);
}

static void when_docker_does_not_answer_that_is_not_nobody(void)
{
	_cleanup_(release) struct outcome o;
	struct rb_node deaf = node;
	struct rb_err err = {};

	rb_engine_open("/nonexistent/docker.sock", &deaf.engine, NULL);
	settle(&o, "{\"volumes\":[{\"name\":\"a\",\"driver\":\"local\",\"source\":\"@/folder\"}]}");
	o.m.node = &deaf;
	rb_storage_check_users(&o.m, &o.m.members[0], NULL, o.obstacles, NULL);
	CHECK_INT(json_array_size(o.obstacles), 1);
	CHECK(strstr(first_obstacle(&o), "who else uses its volumes and folders cannot be told"));
	CHECK(rb_storage_still_ours(&o.m, NULL, NULL, &err) < 0);
	rb_engine_close(deaf.engine);
}

int main(void)
{
	static const char *const folders[] = { "folder/sub", "folder2", "docker/v/_data/sub",
					       "docker/w/_data" };
	char path[PATH_MAX + 16], other[PATH_MAX + 16];

	if (!mkdtemp(top))
		return 99;
	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
		rb_path(path, sizeof(path), "%s/%s", top, folders[i]);
		if (rb_mkdir_p(path, 0755, NULL) < 0)
			return 99;
	}
	put_text("folder/file", "x");
	put_text("folder/sub/deep", "x");
	put_text("alone", "x");
	link_to("folder/out", "../folder2");
	link_to("into", "folder");
	rb_path(path, sizeof(path), "%s/pipe", top);
	mkfifo(path, 0600);
	rb_path(path, sizeof(path), "%s/alone", top);
	rb_path(other, sizeof(other), "%s/hard", top);
	if (link(path, other) < 0)
		return 99;
	TAP_RUN(nothing_is_copied_unasked);
	TAP_RUN(folders_and_files_are_copied_if_asked_for);
	TAP_RUN(one_that_is_named_does_not_stand_for_others);
	TAP_RUN(what_has_no_content_is_refused);
	TAP_RUN(what_the_user_declares_is_shared_whatever_it_is);
	TAP_RUN(volumes_are_copied_if_they_are_plain);
	TAP_RUN(what_was_replaced_is_not_what_the_container_has);
	TAP_RUN(what_the_user_names_must_be_there);
	TAP_RUN(paths_that_never_travel);
	TAP_RUN(locks_are_found_by_the_mount_that_they_are_on);
	TAP_RUN(a_link_out_of_a_folder_is_not_inside_of_it);
	TAP_RUN(a_link_into_a_folder_is_not_another_one);
	TAP_RUN(what_was_settled_is_what_is_opened);
	TAP_RUN(who_uses_it_by_another_path);
	TAP_RUN(who_uses_it_by_a_mount_of_the_host);
	TAP_RUN(when_docker_does_not_answer_that_is_not_nobody);
	rb_rm_rf(top, NULL);
	return tap_done();
}
