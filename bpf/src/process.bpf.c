// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * Runs when a process forks, execs or exits. Emits ps_fork_event, ps_exec_event, ps_exit_event.
 *
 * Only the exec wakes user space: its path must be read before a short-lived process is gone. Fork and
 * exit wait in the ring until something else wakes it. Threads are not processes and are passed over.
 * A walk of the dentries for the path was rejected: user space gets the opened file itself by fanotify,
 * with less code that a hostile path could break.
 */
#include "maps.h"
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "task.h"

/* Kernel text of unknown length. Reading past its end is harmless: what is not mapped reads as zero. */
static __always_inline void copy_text(char *out, u32 size, u64 at)
{
	if (!can_cast()) {
		bpf_probe_read_kernel_str(out, size, (void *)at);
		return;
	}
	for (u32 i = 0; i < size / 16; i++) {
		struct in6_addr *bytes =
		    bpf_rdonly_cast((void *)(at + i * 16), bpf_core_type_id_kernel(struct in6_addr));

		((u32 *)out)[i * 4] = bytes->in6_u.u6_addr32[0];
		((u32 *)out)[i * 4 + 1] = bytes->in6_u.u6_addr32[1];
		((u32 *)out)[i * 4 + 2] = bytes->in6_u.u6_addr32[2];
		((u32 *)out)[i * 4 + 3] = bytes->in6_u.u6_addr32[3];
	}
}

/*
 * The name of the file itself, for programs that are gone before user space can look and that fanotify does
 * not tell of (memfd), and the path as it was called: of the interpreter, if it is a script.
 */
static __always_inline void fill_names(struct ps_exec_event *event, struct mm_struct *mm,
				       struct linux_binprm *bprm)
{
	struct file *exe = mm->exe_file;

	event->file[0] = 0;
	if (exe)
		copy_text(event->file, PS_FILE, (u64)exe->f_path.dentry->d_name.name);
	copy_text(event->called, PS_CALLED, (u64)bprm->interp);
}

static __always_inline void count_lost(long failed)
{
	struct ps_lost *l;

	if (!failed)
		return;
	l = lost_counters();
	if (l)
		l->process_events++;
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(process_fork, struct task_struct *parent, struct task_struct *child)
{
	struct ps_fork_event event = {.kind = PS_EVENT_FORK};

	if (child->pid != child->tgid)
		return 0;
	event.child = child->tgid;
	event.child_start = child->start_boottime;
	event.parent = parent->tgid;
	event.parent_start = plain(parent)->group_leader->start_boottime;
	event.exec_id = child->self_exec_id;
	count_lost(bpf_ringbuf_output(&events, &event, sizeof(event), lazily()));
	return 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(process_exec, struct task_struct *task, int old_pid, struct linux_binprm *bprm)
{
	struct ps_exec_event *event;
	struct mm_struct *mm = plain(task)->mm;
	u64 start, end, length;
	u32 zero = 0;

	event = bpf_map_lookup_elem(&exec_scratch, &zero);
	if (!event || !mm)
		return 0;
	event->kind = PS_EVENT_EXEC;
	event->time = bpf_ktime_get_boot_ns();
	event->cgroup = bpf_get_current_cgroup_id();
	fill_ancestry(&event->process, &event->parent, &event->grandparent);
	if (can_cast())
		bprm = bpf_rdonly_cast(bprm, bpf_core_type_id_kernel(struct linux_binprm));
	fill_names(event, mm, bprm);
	start = mm->arg_start;
	end = mm->arg_end;
	length = end > start ? end - start : 0;
	event->argv_total = length > 0xffffffff ? 0xffffffff : length;
	if (length > PS_ARGV)
		length = PS_ARGV;
	event->argv_length = length;
	if (length && bpf_probe_read_user(event->argv, length, (void *)start))
		event->argv_length = length = 0;
	if (length > PS_ARGV)
		return 0;
	count_lost(bpf_ringbuf_output(&events, event, __builtin_offsetof(struct ps_exec_event, argv) + length,
				      BPF_RB_FORCE_WAKEUP));
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(process_exit, struct task_struct *task)
{
	struct ps_exit_event event = {.kind = PS_EVENT_EXIT};
	u32 tid = task->pid;

	bpf_map_delete_elem(&stashes, &tid);
	bpf_map_delete_elem(&asking, &tid);
	if (plain(task)->signal->live.counter != 0)
		return 0;
	event.tgid = task->tgid;
	event.start = plain(task)->group_leader->start_boottime;
	count_lost(bpf_ringbuf_output(&events, &event, sizeof(event), lazily()));
	return 0;
}
