// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * What names programs asked libc for, and the identity of files.
 *
 * getaddrinfo is watched at its return, so that the name and its answers are together. The result list
 * is the caller's memory: every step of it is read with a checked copy, and at most PS_ANSWERS steps are
 * taken, whatever it looks like.
 */
#include "maps.h"
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "address.h"
#include "task.h"

/* struct addrinfo of every libc on 64-bit Linux. */
struct addrinfo {
	int flags, family, socktype, protocol;
	u32 addrlen, padding;
	u64 addr, canonname, next;
};

SEC("uprobe")
int BPF_UPROBE(getaddrinfo_called, u64 node, u64 service, u64 hints, u64 result)
{
	u32 tid = (u32)bpf_get_current_pid_tgid();
	struct asked asked = {.node = node, .result = result};

	if (node && result && bpf_map_update_elem(&asking, &tid, &asked, BPF_ANY)) {
		struct ps_lost *l = lost_counters();

		if (l)
			l->name_events++;
	}
	return 0;
}

SEC("uretprobe")
int BPF_URETPROBE(getaddrinfo_returned, int ret)
{
	struct task_struct *task = plain(bpf_get_current_task_btf());
	u32 tid = (u32)bpf_get_current_pid_tgid(), zero = 0, count = 0;
	struct ps_name_event *event;
	struct asked *asked;
	struct ps_lost *l;
	u64 at = 0, node;

	asked = bpf_map_lookup_elem(&asking, &tid);
	if (!asked)
		return 0;
	node = asked->node;
	if (!ret)
		bpf_probe_read_user(&at, sizeof(at), (void *)asked->result);
	bpf_map_delete_elem(&asking, &tid);
	event = bpf_map_lookup_elem(&name_scratch, &zero);
	if (!at || !event || bpf_probe_read_user_str(event->node, sizeof(event->node), (void *)node) <= 1)
		return 0;
	for (u32 i = 0; i < PS_ANSWERS; i++) {
		u32 *out = (u32 *)event->addresses[i];
		struct addrinfo info;

		if (!at || bpf_probe_read_user(&info, sizeof(info), (void *)at))
			break;
		at = info.next;
		out[0] = out[1] = out[2] = out[3] = 0;
		if (info.family == AF_INET) {
			out[2] = V4_MAPPED;
			bpf_probe_read_user(&out[3], 4, (void *)(info.addr + 4));
		} else if (info.family == AF_INET6) {
			bpf_probe_read_user(out, 16, (void *)(info.addr + 8));
		}
		count = i + 1;
	}
	if (!count)
		return 0;
	event->kind = PS_EVENT_NAME;
	event->network = network_of(task->nsproxy->net_ns);
	event->tgid = task->tgid;
	event->uid = task->real_cred->uid.val;
	event->start = task->group_leader->start_boottime;
	event->count = count;
	event->time = bpf_ktime_get_boot_ns();
	if (bpf_ringbuf_output(&events, event, sizeof(*event), lazily())) {
		l = lost_counters();
		if (l)
			l->name_events++;
	}
	return 0;
}

struct callback_head {
	struct callback_head *next;
} __attribute__((preserve_access_index));

/*
 * Run by user space (BPF_PROG_RUN) in its own thread: which file is this descriptor of the caller? The
 * answer is comparable with ps_process.file, which stat() is not: st_dev of btrfs and overlayfs is not
 * s_dev.
 */
struct identify {
	u32 fd;
	u32 found;
	struct ps_file file;
};

SEC("syscall")
int identify_fd(struct identify *ctx)
{
	struct task_struct *task = plain(bpf_get_current_task_btf());
	struct fdtable *table = task->files->fdt;
	u32 fd = ctx->fd;
	u64 file, inode, block;

	ctx->found = 0;
	if (fd >= table->max_fds)
		return 0;
	file = (u64)READ_AS(callback_head, (u64)table->fd + fd * sizeof(void *), next);
	if (!file)
		return 0;
	inode = (u64)READ_AS(file, file, f_inode);
	ctx->file.inode = inode;
	ctx->file.ino = READ_AS(inode, inode, i_ino);
	ctx->file.generation = READ_AS(inode, inode, i_generation);
	block = (u64)READ_AS(inode, inode, i_sb);
	ctx->file.dev = READ_AS(super_block, block, s_dev);
	ctx->found = 1;
	return 0;
}
