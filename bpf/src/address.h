/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Addresses: 16 bytes, IPv4 as ::ffff:a.b.c.d, all zero for none. Callers give 8-byte aligned memory. */
#ifndef PICOSNITCH_ADDRESS_H
#define PICOSNITCH_ADDRESS_H

#include "kernel.h"

/* Third word of ::ffff:a.b.c.d, as a little-endian load sees it. */
#define V4_MAPPED 0xffff0000u

static __always_inline int is_zero(const u8 *address)
{
	const u64 *words = (const u64 *)address;

	return !words[0] && !words[1];
}

static __always_inline int is_same(const u8 *one, const u8 *other)
{
	const u64 *a = (const u64 *)one, *b = (const u64 *)other;

	return a[0] == b[0] && a[1] == b[1];
}

static __always_inline void from_v4(u8 *out, __be32 address)
{
	u32 *words = (u32 *)out;

	words[0] = words[1] = 0;
	words[2] = address ? V4_MAPPED : 0;
	words[3] = address;
}

static __always_inline void from_v6(u8 *out, const struct in6_addr *address)
{
	u32 *words = (u32 *)out;

	words[0] = address->in6_u.u6_addr32[0];
	words[1] = address->in6_u.u6_addr32[1];
	words[2] = address->in6_u.u6_addr32[2];
	words[3] = address->in6_u.u6_addr32[3];
}

static __always_inline int is_v4_loopback(const u8 *address)
{
	const u64 *words = (const u64 *)address;

	return !words[0] && ((const u32 *)address)[2] == V4_MAPPED && address[12] == 127;
}

#endif
