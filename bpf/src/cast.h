/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Reading behind pointers whose type the verifier does not know. Linux has bpf_rdonly_cast since 6.2, and
 * allows it under lockdown=confidentiality. Before there is bpf_probe_read_kernel only. The verifier of
 * either kernel sees its own branch alone.
 */
#ifndef PICOSNITCH_CAST_H
#define PICOSNITCH_CAST_H

#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

extern void *bpf_rdonly_cast(const void *obj, u32 btf_id) __ksym __weak;

/* kernel/bpf/verifier.c lists there what it treats in a special way. */
enum special_kfunc_type {
	KF_bpf_rdonly_cast,
};

static __always_inline int can_cast(void)
{
	return bpf_core_enum_value_exists(enum special_kfunc_type, KF_bpf_rdonly_cast);
}

/* A member of the struct at that address; what is not mapped reads as zero. */
#define READ_AS(type, address, member)                                                                       \
	({                                                                                                   \
		typeof(((struct type *)0)->member) value_ = 0;                                               \
		if (can_cast())                                                                              \
			value_ = ((struct type *)bpf_rdonly_cast((void *)(address),                          \
								 bpf_core_type_id_kernel(struct type)))      \
				     ->member;                                                               \
		else                                                                                         \
			bpf_core_read(&value_, sizeof(value_), &((struct type *)(address))->member);         \
		value_;                                                                                      \
	})

#endif
