/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Who runs: read through typed BTF pointers only, as lockdown=confidentiality forbids everything else. */
#ifndef PICOSNITCH_TASK_H
#define PICOSNITCH_TASK_H

#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "cast.h"
#include "wire.h"

/*
 * The same task, for walks. At each pointer that is read through a trusted one the verifier looks through all
 * of the kernel's types by name, several times: that was two thirds of the time to start. What is reached
 * through an untrusted pointer is untrusted, and it need not look. Either way a bad address reads as zero.
 */
static __always_inline struct task_struct *plain(struct task_struct *task)
{
	return can_cast() ? bpf_rdonly_cast(task, bpf_core_type_id_kernel(struct task_struct)) : task;
}

/*
 * One word for "this process, since its last exec". The multiplier spreads the start time over all
 * bits, so that two processes share a key only by an accident of 1 in 2^64; nobody chooses their start
 * time to the nanosecond.
 */
static __always_inline u64 owner_key(struct task_struct *task)
{
	struct task_struct *leader = plain(task)->group_leader;

	return leader->start_boottime * 0x9e3779b97f4a7c15ull ^
	       ((u64)leader->self_exec_id << 32 | (u32)task->tgid);
}

/*
 * The same for the hot path, from memory that switching to the task has touched already: the number of its
 * address space (none is given twice, and an exec makes another one) and the process. Only to be compared
 * with another quick key. 0: none, ask owner_key().
 */
static __always_inline u64 quick_key(struct task_struct *task)
{
	struct mm_struct *mm = plain(task)->mm;

	if (!bpf_core_field_exists(mm->context.ctx_id))
		return owner_key(task);
	return mm ? mm->context.ctx_id << 22 ^ (u32)task->tgid : 0; /* a tgid has 22 bits */
}

/* A network namespace, told apart from all that there were: its inode number is given again at once. */
static __always_inline u32 network_of(struct net *net)
{
	return bpf_core_field_exists(net->net_cookie) ? (u32)net->net_cookie : net->ns.inum;
}

static __always_inline void fill_file(struct ps_file *out, struct file *file)
{
	struct inode *inode = file->f_inode;

	out->inode = (u64)inode;
	out->ino = inode->i_ino;
	out->generation = inode->i_generation;
	out->dev = inode->i_sb->s_dev;
}

/* `task` may be any thread; what is said is of its process. real_parent, so that a tracer is nobody's parent.
 */
static __always_inline void fill_process(struct ps_process *out, struct task_struct *task)
{
	struct task_struct *leader = task->group_leader;
	const struct cred *cred = task->real_cred;
	struct nsproxy *nsproxy = task->nsproxy;
	struct mm_struct *mm = task->mm;

	out->start = leader->start_boottime;
	out->tgid = task->tgid;
	out->exec_id = leader->self_exec_id;
	out->uid = cred->uid.val;
	out->euid = cred->euid.val;
	out->mntns = nsproxy ? nsproxy->mnt_ns->ns.inum : 0;
	out->kernel = (task->flags & PF_KTHREAD) != 0;
	__builtin_memset(&out->file, 0, sizeof(out->file));
	if (mm && !out->kernel) {
		struct file *exe = mm->exe_file;

		if (exe)
			fill_file(&out->file, exe);
	}
	*(u64 *)&out->comm[0] = *(u64 *)&leader->comm[0];
	*(u64 *)&out->comm[8] = *(u64 *)&leader->comm[8];
}

/*
 * The calling process and two up. A global function, so that the verifier looks through the long walk over
 * task_struct once for each program and not once for each way that leads here.
 */
__weak __noinline int fill_ancestry(struct ps_process *self, struct ps_process *parent,
				    struct ps_process *grandparent)
{
	struct task_struct *task = plain(bpf_get_current_task_btf());
	struct task_struct *up;

	if (!self || !parent || !grandparent)
		return 0;
	__builtin_memset(parent, 0, sizeof(*parent));
	__builtin_memset(grandparent, 0, sizeof(*grandparent));
	fill_process(self, task);
	up = task->group_leader->real_parent;
	if (!up || !up->tgid)
		return 0;
	fill_process(parent, up);
	up = up->group_leader->real_parent;
	if (up && up->tgid)
		fill_process(grandparent, up);
	return 0;
}

#endif
