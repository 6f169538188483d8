/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Maps that several files share: maps.bpf.c defines them, everybody else declares them.
 * (All of them stand here: clang 14 makes a mess of a file that declares some and defines others.) */
#ifndef PICOSNITCH_MAPS_H
#define PICOSNITCH_MAPS_H

#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include "wire.h"

#ifdef PS_DEFINE_MAPS
#define PS_EXTERN
#else
#define PS_EXTERN extern
#endif

enum sock_flags {
	SOCK_UNSEEDED = 1,  /* TCP socket older than the monitor: the baseline was guessed */
	SOCK_ADDRESSED = 2, /* connected datagram socket that is also sent to other addresses */
	SOCK_LOST = 4,	    /* found no slot and was counted as lost */
	SOCK_KERNEL = 16,   /* of the kernel itself: no descriptor of any process leads to it */
	SOCK_TCP = 8,	    /* a TCP connection: one peer, and the result of the call is what counts */
};

/*
 * What is kept with a socket; the kernel frees it with the socket. Everything but quick, ref, flags, the
 * TCP baseline, and the local end is written once, before others can see it.
 */
struct sock_state {
	/* What sends and receives need: with the kernel's own word in front of it one cache line. */
	u64 quick;  /* quick_key() of the owner; 0: not seen yet */
	u64 ref;    /* generation << 32 | slot; 0: no slot */
	u32 flags;  /* enum sock_flags */
	u32 copied; /* TCP: copied_seq up to which bytes are charged */
	u64 owner;  /* owner_key() of the process that `ref` belongs to; 0: nobody yet */
	u64 cookie;
	u32 charged; /* TCP, SOCK_UNSEEDED: bytes charged since the baseline was guessed */
	u32 tgid;    /* of the owner; for names only */
	u64 start;   /* of the owner; for names only */
	u32 netns;   /* inode number */
	u32 ifindex; /* AF_PACKET */
	u32 network; /* network_of() */
	u32 unused;
	u8 local[16];
	u8 remote[16];
	u16 local_port;	 /* network order */
	u16 remote_port; /* network order */
	u16 family;
	u16 type;
	u16 protocol;
	u8 direction;
	u8 peer_known;
	u8 sent_to[16];	  /* where the latest datagram went: further pieces of a corked one go there, too */
	u16 sent_to_port; /* network order */
	u16 padding[3];
};

/* One more owner or one more peer of a socket whose `ref` is taken. User space deletes entries. */
struct peer_key {
	u64 cookie;
	u64 owner;
	u8 remote[16];
	u16 remote_port;
	u16 padding[3];
};

/* What the packet-side hooks learned about the datagram that this thread is sending or receiving. */
struct stash {
	u64 cookie; /* of the socket, or 0 */
	u64 sock;   /* its address, or 0; both 0: used up */
	u8 local[16];
	u8 remote[16];
	u16 remote_port;
	u16 padding[3];
};

PS_EXTERN struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct sock_state);
} sockets SEC(".maps");

/*
 * What the latest packet of a socket said when it went out. Kept with the socket, not under the thread:
 * over loopback the kernel answers in the sender's thread, and its answer must not pass for what was sent.
 */
struct packet_note {
	u32 tid; /* 0: used up */
	u32 padding;
	u8 local[16];
	u8 remote[16];
};

PS_EXTERN struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct packet_note);
} packets SEC(".maps");

/* What arrived at a UDP socket that is not connected. Apart from `sockets`: nobody has used it yet, perhaps.
 */
struct arrival {
	u32 sources; /* enum sources */
	u16 remote_port;
	u16 padding;
	u8 remote[16];
	u8 local[16]; /* of the latest */
};
enum sources {
	NO_SOURCE = 0,
	SOURCE_COMES = 1, /* is being written */
	ONE_SOURCE = 2,	  /* all that ever arrived came from `remote` */
	MANY_SOURCES = 3,
};

PS_EXTERN struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct arrival);
} arrivals SEC(".maps");

#define PS_QUESTION 5

/* A DNS query, and who sent it: an answer may come before the sender's own hook has run, which makes the
 * socket's state. */
struct dns_query {
	u8 server[16];
	u64 start;
	u32 tgid;
	u32 uid;
	u32 network;
	u16 number; /* of the query */
	u16 used;
	u64 question[PS_QUESTION]; /* what is asked, as far as that reaches; see read_question() */
};

/* The latest queries of one socket: who asks more at once, by one socket, has names for the latest. With the
 * socket, so that nobody's queries push out another's. */
#define PS_QUERIES 32
struct dns_queries {
	u32 next;
	u32 padding;
	struct dns_query queries[PS_QUERIES];
};

PS_EXTERN struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct dns_queries);
} dns_queries SEC(".maps");

PS_EXTERN struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, PS_SLOTS);
	__type(key, u32);
	__type(value, struct ps_counters);
} counters SEC(".maps");

PS_EXTERN struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, PS_SLOTS);
	__type(key, u32);
	__type(value, struct ps_flow);
} flows SEC(".maps");

PS_EXTERN struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct ps_returned);
} returned SEC(".maps");

/* Slots that were used and are free again. Never-used ones are counted off by `fresh`. The latest first: its
 * memory is still in the processor's caches, and a machine with few flows at once touches little of it. */
PS_EXTERN struct {
	__uint(type, BPF_MAP_TYPE_STACK);
	__uint(max_entries, PS_SLOTS);
	__type(value, u32);
} free_slots SEC(".maps");

/* owner_key() of processes that had a flow already: only the first one is news that user space must be woken
 * for. */
PS_EXTERN struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, u64);
	__type(value, u8);
} known SEC(".maps");

/* peer_key -> generation << 32 | slot */
PS_EXTERN struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, PS_SLOTS);
	__type(key, struct peer_key);
	__type(value, u64);
} peers SEC(".maps");

/* Peers that found no slot, so that each is counted once; 256 KiB. Cookies of sockets are not used twice. */
PS_EXTERN struct {
	__uint(type, BPF_MAP_TYPE_BLOOM_FILTER);
	__uint(max_entries, 4 * PS_SLOTS);
	__type(value, struct peer_key);
} refused SEC(".maps");

/* thread -> stash */
PS_EXTERN struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, u32);
	__type(value, struct stash);
} stashes SEC(".maps");

PS_EXTERN struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct ps_lost);
} lost SEC(".maps");

/* User space sets the size (monitor.ring_buffer_kib). */
PS_EXTERN struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1024 * 1024);
} events SEC(".maps");

/* Events too large for the stack are put together here. */
#define SCRATCH(name, value_type)                                                                            \
	PS_EXTERN struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);                                                     \
		__uint(max_entries, 1);                                                                      \
		__type(key, u32);                                                                            \
		__type(value, value_type);                                                                   \
	} name SEC(".maps")

SCRATCH(exec_scratch, struct ps_exec_event);
SCRATCH(dns_scratch, struct ps_dns_event);
SCRATCH(name_scratch, struct ps_name_event);

/* What a thread inside getaddrinfo gave it. */
struct asked {
	u64 node;   /* char * */
	u64 result; /* struct addrinfo ** */
};

/* thread -> asked */
PS_EXTERN struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 8192);
	__type(key, u32);
	__type(value, struct asked);
} asking SEC(".maps");

/* An event that nobody waits for: user space is woken only when the ring fills up. */
static __always_inline u64 lazily(void)
{
	return bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) >
		       bpf_ringbuf_query(&events, BPF_RB_RING_SIZE) / 4
		   ? BPF_RB_FORCE_WAKEUP
		   : BPF_RB_NO_WAKEUP;
}

static __always_inline struct ps_lost *lost_counters(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&lost, &zero);
}

#endif
