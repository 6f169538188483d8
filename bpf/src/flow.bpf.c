// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * Runs in the caller's context after each send and receive, on TCP state changes and when a socket is
 * closed. Adds bytes to slots; emits ps_flow_event when a slot opens or ends, never per packet.
 *
 * One source for each protocol and direction, or bytes would count twice:
 *   TCP received   how far copied_seq moved, at tcp_rcv_space_adjust: also sees splice and zero-copy
 *   everything else   the result of the call, at sock_send_length and sock_recv_length
 *
 * The usual case (a TCP connection used by the process that opened it) is usual(): no look-up that is a call.
 * All else is looked up in the socket's storage; another process or another peer of the same socket goes
 * through `peers`. Rejected: adding in a hash by flow (twice the cost), per-processor counters (64 Ki slots
 * times processors of memory that user space would have to map).
 */
#include "maps.h"
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "address.h"
#include "task.h"

/* owner_key() of the kernel itself: process 0 that has had one exec. */
#define KERNEL_KEY (1ull << 32)

/* Slots below this were handed out at least once. */
u32 fresh;
/* TCP sockets whose baseline is guessed: while there are none, TCP receives cost nothing twice. */
u32 unseeded;
/* Where the kernel keeps `sockets` in a socket's storage, once that is known: see usual(). */
u32 storage_at;
u64 storage_map;

static __always_inline void read_remote(struct sock *sk, u8 *remote, u16 *port)
{
	if (sk->__sk_common.skc_family == AF_INET6)
		from_v6(remote, &sk->__sk_common.skc_v6_daddr);
	else
		from_v4(remote, sk->__sk_common.skc_daddr);
	*port = sk->__sk_common.skc_dport;
}

static __always_inline void read_local(struct sock *sk, u8 *local, u16 *port)
{
	u16 family = sk->__sk_common.skc_family;

	if (family == AF_INET6)
		from_v6(local, &sk->__sk_common.skc_v6_rcv_saddr);
	else
		from_v4(local, sk->__sk_common.skc_rcv_saddr);
	*port = __builtin_bswap16(sk->__sk_common.skc_num);
}

/* A raw socket of protocol TCP is none. */
static __always_inline int is_tcp(struct sock *sk)
{
	return sk->sk_protocol == IPPROTO_TCP && sk->sk_type == SOCK_STREAM;
}

/* Multipath TCP moves its bytes by connections of its own, which are not the program's. */
static __always_inline int is_subflow(struct tcp_sock *tcp)
{
	return bpf_core_field_exists(tcp->is_mptcp) && BPF_CORE_READ_BITFIELD(tcp, is_mptcp);
}

static __always_inline u8 userlocks(struct sock *sk)
{
	if (!can_cast())
		return BPF_CORE_READ_BITFIELD_PROBED(sk, sk_userlocks);
	sk = bpf_rdonly_cast(sk, bpf_core_type_id_kernel(struct sock));
	return BPF_CORE_READ_BITFIELD(sk, sk_userlocks);
}

/*
 * Who called whom, where the begin of a connection was not seen: connect() marks the port that it chooses,
 * and an accepted socket has the mark of its listener's. bind() to an address alone leaves no mark either,
 * but chooses a port of the same range.
 */
static __always_inline u8 guess_direction(struct sock *sk, const struct sock_state *st)
{
	struct inet_bind_bucket *bucket = READ_AS(inet_connection_sock, sk, icsk_bind_hash);
	int low = __builtin_bswap16(st->local_port) < 32768;
	int from_low = __builtin_bswap16(st->remote_port) < 32768;

	if (!bucket)
		return low && !from_low ? PS_IN : PS_OUT;
	if (READ_AS(inet_bind_bucket, bucket, fastreuse) < 0 || userlocks(sk) & SOCK_BINDPORT_LOCK)
		return PS_OUT;
	return low || !from_low ? PS_IN : PS_OUT;
}

static __always_inline void read_mptcp(struct sock_state *st, struct sock *sk)
{
	struct sock *first;

	if (!bpf_core_type_exists(struct mptcp_sock))
		return;
	first = READ_AS(mptcp_sock, sk, first);
	if (!first)
		return;
	if (can_cast()) {
		/* Before Linux 6.2 the whole has to do, which knows them once it is connected. */
		read_remote(first, st->remote, &st->remote_port);
		read_local(first, st->local, &st->local_port);
	}
	if (sk->__sk_common.skc_state != TCP_SYN_SENT)
		st->direction = guess_direction(first, st);
}

/* For walks; see plain(). */
static __always_inline struct sock *plain_sock(struct sock *sk)
{
	return can_cast() ? bpf_rdonly_cast(sk, bpf_core_type_id_kernel(struct sock)) : sk;
}

static __always_inline struct tcp_sock *tcp_of(struct sock *sk)
{
	return can_cast() ? bpf_rdonly_cast(sk, bpf_core_type_id_kernel(struct tcp_sock))
			  : bpf_skc_to_tcp_sock(sk);
}

/*
 * A socket that the kernel made for itself. One that it made on behalf of a program's has that one's file,
 * once the program moves bytes through it.
 */
static __always_inline int is_kernels(struct sock *sk)
{
	struct socket *socket;

	if (!bpf_core_field_exists(sk->sk_kern_sock) || !BPF_CORE_READ_BITFIELD(sk, sk_kern_sock))
		return 0;
	socket = plain_sock(sk)->sk_socket;
	return socket && !socket->file;
}

/* What the kernel does with such a socket in the thread of a program is not the program's doing. */
static __always_inline int is_kernels_doing(const struct sock_state *st)
{
	return st->flags & SOCK_KERNEL && !(bpf_get_current_task_btf()->flags & PF_KTHREAD);
}

/* All that is known of a socket when it is first seen. Returns with owner and ref 0. */
static __noinline int fill_sock(struct sock_state *st, struct sock *sk)
{
	struct net *net;

	if (!st || !sk)
		return 0;
	__builtin_memset(st, 0, sizeof(*st));
	st->cookie = bpf_get_socket_cookie(sk);
	net = plain_sock(sk)->__sk_common.skc_net.net;
	st->netns = net->ns.inum;
	st->network = network_of(net);
	st->family = sk->__sk_common.skc_family;
	st->type = sk->sk_type;
	st->protocol = sk->sk_protocol;
	st->direction = PS_OUT;
	if (is_kernels(sk))
		st->flags |= SOCK_KERNEL;
	if (st->family == AF_PACKET) {
		st->protocol = 0;
		st->ifindex = READ_AS(packet_sock, sk, ifindex);
		return 0;
	}
	read_local(sk, st->local, &st->local_port);
	if (st->type == SOCK_RAW)
		st->local_port = 0; /* skc_num is the protocol */
	read_remote(sk, st->remote, &st->remote_port);
	if (st->protocol == IPPROTO_MPTCP)
		read_mptcp(st, sk);
	st->peer_known = !is_zero(st->remote);
	if (is_tcp(sk)) {
		u8 state = sk->__sk_common.skc_state;
		struct tcp_sock *tcp = bpf_skc_to_tcp_sock(sk);

		st->flags |= SOCK_TCP;
		/* Opened before the monitor: what was read until now is not ours to count. */
		if (tcp)
			st->copied = tcp->copied_seq;
		if (state != TCP_CLOSE && state != TCP_SYN_SENT)
			st->direction = guess_direction(sk, st);
	}
	return 0;
}

static __always_inline struct ps_counters *live(u64 ref)
{
	struct ps_counters *c;
	u32 slot = (u32)ref;

	if (!ref)
		return 0;
	c = bpf_map_lookup_elem(&counters, &slot);
	if (!c || c->state != PS_LIVE || c->generation != (u32)(ref >> 32))
		return 0;
	return c;
}

static __always_inline int readable_storage(void)
{
	return can_cast() && bpf_core_field_exists(struct sock, sk_bpf_storage) &&
	       bpf_core_field_exists(struct bpf_local_storage, cache) &&
	       bpf_core_field_exists(struct bpf_local_storage_data, data);
}

/*
 * The slot of the usual case, in as few cache lines and calls as it takes: a TCP connection that is used by
 * the process that opened it. 0: anything else, or not known yet.
 *
 * bpf_sk_storage_get() is a call into the kernel, and where returns are guarded against speculation each
 * costs as much as all the rest here. So the socket's storage is read as the helper itself would read it
 * first: in the cache of entries that lies in it. Only reading: what this writes is in the slot.
 */
static __always_inline struct ps_counters *usual(struct sock *sk)
{
	struct bpf_local_storage *storage;
	struct bpf_local_storage_data *data;
	struct timespec64 *words;
	struct task_struct *task;
	u64 quick, ref;

	if (!readable_storage()) {
		struct sock_state *st = bpf_sk_storage_get(&sockets, sk, 0, 0);

		if (!st || st->flags != SOCK_TCP)
			return 0;
		quick = st->quick;
		ref = st->ref;
	} else {
		storage = plain_sock(sk)->sk_bpf_storage;
		if (!storage || !storage_map)
			return 0;
		/* Any two words will do: the verifier wants a type of the kernel's own. */
		words = bpf_rdonly_cast((void *)((u64)storage + storage_at),
					bpf_core_type_id_kernel(struct timespec64));
		data = bpf_rdonly_cast((void *)words->tv_sec,
				       bpf_core_type_id_kernel(struct bpf_local_storage_data));
		if ((u64)data->smap != storage_map)
			return 0;
		words = bpf_rdonly_cast(&data->data, bpf_core_type_id_kernel(struct timespec64));
		quick = words->tv_sec;
		ref = words->tv_nsec;
		words = bpf_rdonly_cast((u8 *)&data->data + 16, bpf_core_type_id_kernel(struct timespec64));
		if ((u32)words->tv_sec != SOCK_TCP)
			return 0;
	}
	task = bpf_get_current_task_btf();
	return quick && quick == quick_key(task) ? live(ref) : 0;
}

/* Finds the cached entry that is `st`, for usual(). */
static __always_inline void learn_storage(struct sock *sk, struct sock_state *st)
{
	struct bpf_local_storage *storage;
	struct bpf_local_storage_data *data;
	struct timespec64 *word;

	if (!readable_storage() || storage_map)
		return;
	storage = plain_sock(sk)->sk_bpf_storage;
	for (u32 i = 0; i < 16; i++) {
		u32 at = bpf_core_field_offset(struct bpf_local_storage, cache) + i * sizeof(void *);

		word =
		    bpf_rdonly_cast((void *)((u64)storage + at), bpf_core_type_id_kernel(struct timespec64));
		data = bpf_rdonly_cast((void *)word->tv_sec,
				       bpf_core_type_id_kernel(struct bpf_local_storage_data));
		if ((u64)&data->data != (u64)st)
			continue;
		storage_at = at;
		storage_map = (u64)data->smap;
		return;
	}
}

/*
 * `now`: wake user space for it. The first flow of a process is what people are told of within milliseconds;
 * all others are looked at with the next one, when the ring fills up, or at the next collection. With a
 * wake-up for each, tens of thousands of short connections a second would go through as many context
 * switches.
 */
static __always_inline void hint(u32 kind, u64 ref, int now)
{
	struct ps_flow_event event = {.kind = kind, .slot = (u32)ref, .generation = (u32)(ref >> 32)};
	struct ps_lost *l;

	if (!bpf_ringbuf_output(&events, &event, sizeof(event), now ? BPF_RB_FORCE_WAKEUP : lazily()))
		return;
	l = lost_counters();
	if (l)
		l->flow_events++;
}

static __always_inline void announce(u64 ref, u64 key)
{
	int first = !bpf_map_lookup_elem(&known, &key);

	if (first) {
		u8 yes = 1;

		bpf_map_update_elem(&known, &key, &yes, BPF_ANY);
	}
	hint(PS_EVENT_FLOW, ref, first);
}

/*
 * Takes a slot and fills it for the calling process; the ends are of this peer. 0: none left. Global, like
 * find_slot: verified once for each program, not once for each way that leads here.
 */
__noinline u64 take_slot(struct sock_state *st, const struct stash *ends, u32 secondary)
{
	struct ps_counters *c;
	struct ps_flow *f;
	u32 slot, generation;

	if (!st || !ends)
		return 0;
	if (bpf_map_pop_elem(&free_slots, &slot)) {
		if (fresh >= PS_SLOTS)
			return 0;
		slot = __sync_fetch_and_add(&fresh, 1);
	}
	f = bpf_map_lookup_elem(&flows, &slot);
	c = bpf_map_lookup_elem(&counters, &slot);
	if (!f || !c)
		return 0;
	generation = c->generation + 1;
	if (!generation)
		generation = 1;
	if (is_kernels_doing(st)) {
		__builtin_memset(&f->process, 0, sizeof(f->process));
		f->process.exec_id = 1; /* see KERNEL_KEY */
		f->process.kernel = 1;
		__builtin_memcpy(f->process.comm, "kernel", 7);
		__builtin_memset(&f->parent, 0, sizeof(f->parent));
		__builtin_memset(&f->grandparent, 0, sizeof(f->grandparent));
	} else {
		fill_ancestry(&f->process, &f->parent, &f->grandparent);
	}
	f->opened = bpf_ktime_get_boot_ns();
	f->cgroup = bpf_get_current_cgroup_id();
	f->cookie = st->cookie;
	f->generation = generation;
	f->netns = st->netns;
	f->network = st->network;
	f->ifindex = st->ifindex;
	f->family = st->family;
	f->type = st->type;
	f->protocol = st->protocol;
	f->local_port = st->local_port;
	f->direction = st->direction;
	f->remote_port = ends->remote_port;
	f->peer_known = ends->cookie != 0;
	f->secondary = secondary;
	__builtin_memcpy(f->local, ends->local, 16);
	__builtin_memcpy(f->remote, ends->remote, 16);
	c->generation = generation;
	c->sent = 0;
	c->received = 0;
	c->copied = st->copied;
	c->state = PS_LIVE;
	return (u64)generation << 32 | slot;
}

static __always_inline void give_back(u64 ref)
{
	u32 slot = (u32)ref;
	struct ps_counters *c = bpf_map_lookup_elem(&counters, &slot);

	if (c)
		c->state = PS_FREE;
	bpf_map_push_elem(&free_slots, &slot, BPF_ANY);
}

/* Run by user space: hands back the slots that it wrote to `returned`. Never attached; of a kind that may not
 * sleep, as those that may cannot use stacks before Linux 6.2. */
SEC("raw_tp")
int return_slots(void *ctx)
{
	u32 zero = 0;
	struct ps_returned *r = bpf_map_lookup_elem(&returned, &zero);
	u32 count;

	if (!r)
		return 0;
	count = r->count;
	for (u32 i = 0; i < PS_BUNDLE && i < count; i++) {
		u32 slot = r->slots[i];

		if (slot < PS_SLOTS)
			bpf_map_push_elem(&free_slots, &slot, BPF_ANY);
	}
	return 0;
}

/* Up to where the bytes of a TCP connection are charged: in its slot while it has one. */
static __always_inline u32 *baseline(struct sock_state *st)
{
	u32 slot = (u32)st->ref;
	struct ps_counters *c;

	if (!st->ref)
		return &st->copied;
	c = bpf_map_lookup_elem(&counters, &slot);
	return c && c->generation == (u32)(st->ref >> 32) ? &c->copied : 0;
}

/* Lost sockets are counted once each, and counted back when they find a slot after all. */
static __always_inline void note_slot(struct sock_state *st, int found)
{
	struct ps_lost *l;

	if (found == !(st->flags & SOCK_LOST))
		return;
	l = lost_counters();
	if (found) {
		st->flags &= ~SOCK_LOST;
		if (l)
			l->recovered++;
	} else {
		st->flags |= SOCK_LOST;
		if (l)
			l->flows++;
	}
}

/* One more peer or owner of a socket found no slot: counted once, for good. */
static __always_inline void note_refused(struct peer_key *peer)
{
	struct ps_lost *l;

	if (!bpf_map_peek_elem(&refused, peer))
		return;
	bpf_map_push_elem(&refused, peer, BPF_ANY);
	l = lost_counters();
	if (l)
		l->flows++;
}

/* The slot of (socket, process, peer), taken now if there is none yet. */
__noinline u64 find_slot(struct sock_state *st, u64 key, const struct stash *ends)
{
	struct peer_key peer = {};
	u64 ref, *known, old;
	u32 *copied;

	if (!st || !ends)
		return 0;
	old = st->ref;
	if (is_kernels_doing(st))
		key = KERNEL_KEY;
	if (!st->owner)
		__sync_val_compare_and_swap(&st->owner, 0, key);
	if (st->owner == key)
		st->quick = quick_key(bpf_get_current_task_btf());
	if (st->owner == key && ends->remote_port == st->remote_port && is_same(ends->remote, st->remote)) {
		if (live(old))
			return old;
		if (!st->tgid) {
			struct task_struct *task = bpf_get_current_task_btf();

			st->tgid = task->tgid;
			st->start = plain(task)->group_leader->start_boottime;
		}
		copied = baseline(st);
		if (copied)
			st->copied = *copied;
		ref = take_slot(st, ends, 0);
		note_slot(st, ref != 0);
		if (!ref)
			return 0;
		if (__sync_val_compare_and_swap(&st->ref, old, ref) != old) {
			give_back(ref);
			return st->ref;
		}
		announce(ref, key);
		return ref;
	}
	peer.cookie = st->cookie;
	peer.owner = key;
	peer.remote_port = ends->remote_port;
	__builtin_memcpy(peer.remote, ends->remote, 16);
	known = bpf_map_lookup_elem(&peers, &peer);
	if (known && live(*known))
		return *known;
	ref = take_slot(st, ends, 1);
	if (!ref) {
		note_refused(&peer);
		return 0;
	}
	if (bpf_map_update_elem(&peers, &peer, &ref, known ? BPF_ANY : BPF_NOEXIST)) {
		/* Another thread was first, or the table is full. */
		known = bpf_map_lookup_elem(&peers, &peer);
		give_back(ref);
		if (known)
			return *known;
		note_refused(&peer);
		return 0;
	}
	announce(ref, key);
	return ref;
}

static __always_inline void add(u64 ref, u32 bytes, int sending)
{
	struct ps_counters *c = live(ref);

	if (c) {
		__sync_fetch_and_add(sending ? &c->sent : &c->received, bytes);
	} else {
		struct ps_lost *l = lost_counters();

		if (l)
			*(sending ? &l->sent : &l->received) += bytes;
	}
}

/* State of a socket that was never seen, or seen only by somebody else's hook. */
static __noinline struct sock_state *create_state(struct sock *sk, u64 key, struct task_struct *task)
{
	struct sock_state init = {};

	if (!sk || !task)
		return 0;
	fill_sock(&init, sk);
	if (key) {
		init.owner = is_kernels_doing(&init) ? KERNEL_KEY : key;
		init.tgid = task->tgid;
		init.start = plain(task)->group_leader->start_boottime;
	}
	return bpf_sk_storage_get(&sockets, sk, &init, BPF_SK_STORAGE_GET_F_CREATE);
}

static __always_inline void charge_connected(struct sock *sk, struct sock_state *st, u64 key,
					     struct task_struct *task, int bytes, int sending)
{
	struct ps_counters *c;
	struct stash ends;

	if (st && st->owner == key) {
		c = live(st->ref);
		if (c && st->quick) {
			__sync_fetch_and_add(sending ? &c->sent : &c->received, bytes);
			return;
		}
	}
	if (!st) {
		st = create_state(sk, key, task);
		/* Who only listens to a network was not the one that began. */
		if (st && st->family == AF_PACKET && !sending)
			st->direction = PS_IN;
	}
	if (!st) {
		struct ps_lost *l = lost_counters();

		if (l) {
			l->flows++;
			*(sending ? &l->sent : &l->received) += bytes;
		}
		return;
	}
	__builtin_memcpy(ends.local, st->local, 16);
	__builtin_memcpy(ends.remote, st->remote, 16);
	ends.remote_port = st->remote_port;
	ends.cookie = 1;
	add(find_slot(st, key, &ends), bytes, sending);
}

static __always_inline void charge_datagram(struct sock *sk, struct sock_state *st, u64 key,
					    struct task_struct *task, int bytes, int sending)
{
	int connected = sk->__sk_common.skc_state == TCP_ESTABLISHED;
	u32 tid = (u32)bpf_get_current_pid_tgid();
	struct arrival *arrival = 0;
	struct stash *stash = 0;
	struct stash ends = {};

	if (connected && st && !(st->flags & SOCK_ADDRESSED)) {
		/* Still connected to whom it was connected to when first seen? */
		u16 port;

		if (bytes < 0)
			return;
		read_remote(sk, ends.remote, &port);
		ends.remote_port = port;
		if (port == st->remote_port && is_same(ends.remote, st->remote)) {
			charge_connected(sk, st, key, task, bytes, sending);
			return;
		}
	} else {
		stash = bpf_map_lookup_elem(&stashes, &tid);
	}
	if (bytes < 0) {
		if (stash)
			stash->cookie = stash->sock = 0;
		return;
	}
	if (!st) {
		st = create_state(sk, key, task);
		if (!st) {
			charge_connected(sk, st, key, task, bytes, sending);
			return;
		}
		if (!connected && !sending)
			st->direction = PS_IN;
	}
	ends.cookie = 0;
	if (stash && (stash->cookie == st->cookie || stash->sock == (u64)sk)) {
		__builtin_memcpy(&ends, stash, sizeof(ends));
		stash->cookie = stash->sock = 0;
		ends.cookie = 1;
		if (connected && sending)
			st->flags |= SOCK_ADDRESSED;
		if (sending) {
			__builtin_memcpy(st->sent_to, ends.remote, 16);
			st->sent_to_port = ends.remote_port;
		}
	} else if (connected || sk->__sk_common.skc_dport) {
		u16 port;

		read_remote(sk, ends.remote, &port);
		ends.remote_port = port;
		ends.cookie = 1;
	} else if (sending && sk->sk_protocol == IPPROTO_UDP && st->sent_to_port) {
		/* One more piece of a corked datagram: it goes where the first one said. */
		__builtin_memcpy(ends.remote, st->sent_to, 16);
		ends.remote_port = st->sent_to_port;
		ends.cookie = 1;
	}
	if (!connected && sk->sk_protocol == IPPROTO_UDP)
		arrival = bpf_sk_storage_get(&arrivals, sk, 0, 0);
	if (!sending && !ends.cookie && arrival && arrival->sources == ONE_SOURCE) {
		__builtin_memcpy(ends.remote, arrival->remote, 16);
		ends.remote_port = arrival->remote_port;
		ends.cookie = 1;
	}
	if (sending && (!ends.cookie || is_zero(st->local))) {
		struct packet_note *note = bpf_sk_storage_get(&packets, sk, 0, 0);

		if (note && note->tid == tid) {
			note->tid = 0;
			__builtin_memcpy(ends.local, note->local, 16);
			if (!ends.cookie && (sk->sk_protocol != IPPROTO_UDP || sk->sk_type == SOCK_RAW)) {
				__builtin_memcpy(ends.remote, note->remote, 16);
				ends.cookie = 1;
			}
		}
	}
	if (is_zero(ends.local)) {
		u16 port;

		read_local(sk, ends.local, &port);
		if (is_zero(ends.local) && arrival)
			__builtin_memcpy(ends.local, arrival->local, 16);
	}
	/* It may have another one since it was connected to nobody. */
	if (sk->__sk_common.skc_num && st->type != SOCK_RAW)
		st->local_port = __builtin_bswap16(sk->__sk_common.skc_num);
	if (!st->ref && !st->peer_known && ends.cookie) {
		/* The first peer of an unconnected socket becomes the one that needs no look-up. */
		st->remote_port = ends.remote_port;
		__builtin_memcpy(st->remote, ends.remote, 16);
		st->peer_known = 1;
	}
	add(find_slot(st, key, &ends), bytes, sending);
}

/*
 * The slot was taken back from an idle connection, and its baseline with it. All that was received since was
 * charged in the calls that read it.
 */
static __always_inline void renew_baseline(struct sock *sk, struct sock_state *st)
{
	struct tcp_sock *tcp;

	if (!st || !st->ref || baseline(st))
		return;
	tcp = tcp_of(sk);
	if (!tcp)
		return;
	st->ref = 0;
	st->copied = tcp->copied_seq;
}

/* All that is not the common case. Apart, so that what runs each time is short. */
static __noinline int send_otherwise(struct sock *sk, int ret)
{
	struct sock_state *st = bpf_sk_storage_get(&sockets, sk, 0, 0);
	struct task_struct *task = bpf_get_current_task_btf();
	u16 family = sk->__sk_common.skc_family;

	if (is_tcp(sk)) {
		if (ret > 0) {
			renew_baseline(sk, st);
			charge_connected(sk, st, owner_key(task), task, ret, 1);
		}
	} else if (family == AF_PACKET || sk->sk_protocol == IPPROTO_MPTCP) {
		if (ret >= 0)
			charge_connected(sk, st, owner_key(task), task, ret, 1);
	} else {
		charge_datagram(sk, st, owner_key(task), task, ret, 1);
	}
	return 0;
}

static __always_inline int is_ours(u16 family)
{
	return family == AF_INET || family == AF_INET6 || family == AF_PACKET;
}

static __always_inline int sent(struct sock *sk, int ret)
{
	if (!is_ours(sk->__sk_common.skc_family))
		return 0;
	if (ret > 0) {
		struct ps_counters *c = usual(sk);

		if (c) {
			__sync_fetch_and_add(&c->sent, ret);
			return 0;
		}
	}
	return send_otherwise(sk, ret);
}

SEC("tp_btf/sock_send_length")
int BPF_PROG(sock_send, struct sock *sk, int ret, int flags)
{
	return sent(sk, ret);
}

/* The first call on a socket older than the monitor: tcp_rcv_space_adjust missed its first piece. */
static __noinline int seed(struct sock *sk, int ret)
{
	struct sock_state *st = bpf_sk_storage_get(&sockets, sk, 0, 0);
	struct task_struct *task = bpf_get_current_task_btf();

	if (!st || !(st->flags & SOCK_UNSEEDED))
		return 0;
	st->flags &= ~SOCK_UNSEEDED;
	__sync_fetch_and_add(&unseeded, -1);
	if ((u32)ret > st->charged)
		charge_connected(sk, st, owner_key(task), task, ret - st->charged, 0);
	return 0;
}

static __noinline int receive_otherwise(struct sock *sk, int ret, int flags)
{
	struct sock_state *st = bpf_sk_storage_get(&sockets, sk, 0, 0);
	struct task_struct *task = bpf_get_current_task_btf();

	if (flags & (MSG_PEEK | MSG_ERRQUEUE))
		ret = -1; /* nothing was taken; what the hooks noted must go */
	if (sk->__sk_common.skc_family == AF_PACKET || sk->sk_protocol == IPPROTO_MPTCP) {
		if (ret >= 0)
			charge_connected(sk, st, owner_key(task), task, ret, 0);
	} else {
		charge_datagram(sk, st, owner_key(task), task, ret, 0);
	}
	return 0;
}

static __always_inline int received(struct sock *sk, int ret, int flags)
{
	if (!is_ours(sk->__sk_common.skc_family))
		return 0;
	if (!is_tcp(sk) || sk->__sk_common.skc_family == AF_PACKET)
		return receive_otherwise(sk, ret, flags);
	if (!unseeded || ret <= 0 || flags & (MSG_PEEK | MSG_ERRQUEUE))
		return 0;
	return seed(sk, ret);
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(sock_recv, struct sock *sk, int ret, int flags)
{
	return received(sk, ret, flags);
}

/* For the programs of older.bpf.c, which learn the same elsewhere. */
__hidden __noinline int count_sent(struct sock *sk, int ret)
{
	return sk ? sent(sk, ret) : 0;
}

__hidden __noinline int count_received(struct sock *sk, int ret, int flags)
{
	return sk ? received(sk, ret, flags) : 0;
}

/* From here on the baseline is a guess: this call may have read some of it already. */
static __always_inline void guess_baseline(struct sock_state *st, u32 copied)
{
	st->copied = copied;
	st->charged = 0;
	if (st->flags & SOCK_UNSEEDED)
		return;
	st->flags |= SOCK_UNSEEDED;
	__sync_fetch_and_add(&unseeded, 1);
}

static __noinline int tcp_received_otherwise(struct sock *sk)
{
	struct sock_state *st = bpf_sk_storage_get(&sockets, sk, 0, 0);
	struct task_struct *task = bpf_get_current_task_btf();
	struct tcp_sock *tcp = tcp_of(sk);
	u32 copied, bytes, *charged;

	if (!tcp)
		return 0;
	copied = tcp->copied_seq;
	if (!st) {
		st = create_state(sk, owner_key(task), task);
		if (st)
			guess_baseline(st, copied);
		return 0;
	}
	learn_storage(sk, st);
	charged = baseline(st);
	if (!charged) {
		/* The slot was taken back from an idle connection, and its baseline with it. */
		st->ref = 0;
		guess_baseline(st, copied);
		return 0;
	}
	bytes = copied - *charged;
	*charged = copied;
	/* splice also reads over the FIN, which takes a sequence number and is no byte. */
	if (bytes && sk->__sk_common.skc_flags & (1UL << SOCK_DONE) && copied == tcp->rcv_nxt)
		bytes--;
	if (!bytes)
		return 0;
	if (st->flags & SOCK_UNSEEDED)
		st->charged += bytes;
	/* Read as it arrives by the kernel (TLS, iSCSI), while any program may run. */
	if (!sk->sk_lock.owned && st->owner) {
		add(st->ref, bytes, 0);
		return 0;
	}
	charge_connected(sk, st, owner_key(task), task, bytes, 0);
	return 0;
}

SEC("tp_btf/tcp_rcv_space_adjust")
int BPF_PROG(tcp_received, struct sock *sk)
{
	struct ps_counters *c = usual(sk);

	if (c && !(sk->__sk_common.skc_flags & (1UL << SOCK_DONE))) {
		struct tcp_sock *tcp = tcp_of(sk);
		u32 copied, bytes;

		if (!tcp)
			return 0;
		copied = tcp->copied_seq;
		bytes = copied - c->copied;
		if (!bytes)
			return 0;
		c->copied = copied;
		__sync_fetch_and_add(&c->received, bytes);
		return 0;
	}
	return tcp_received_otherwise(sk);
}

static __always_inline void end_slot(struct sock_state *st)
{
	struct ps_counters *c = live(st->ref);

	if (c)
		c->state = PS_ENDED;
	if (st->flags & SOCK_UNSEEDED) {
		st->flags &= ~SOCK_UNSEEDED;
		__sync_fetch_and_add(&unseeded, -1);
	}
}

/* The slot learns the local port, which connect() chooses after SYN_SENT. */
static __always_inline void learn_port(struct sock_state *st, struct sock *sk)
{
	u32 slot = (u32)st->ref;
	struct ps_flow *f;

	if (st->local_port && !is_zero(st->local))
		return;
	read_local(sk, st->local, &st->local_port);
	if (!st->local_port) {
		/* Given back by tcp_set_state(CLOSE) before it tells; inet_sport still has it. */
		st->local_port = READ_AS(inet_sock, sk, inet_sport);
	}
	if (!live(st->ref))
		return;
	f = bpf_map_lookup_elem(&flows, &slot);
	if (f && f->generation == (u32)(st->ref >> 32)) {
		f->local_port = st->local_port;
		__builtin_memcpy(f->local, st->local, 16);
	}
}

/* Half of the changes say nothing. */
static __always_inline int matters(int from, int to)
{
	return to == TCP_SYN_SENT || to == TCP_ESTABLISHED || (to == TCP_CLOSE && from == TCP_SYN_SENT);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(state_changed, struct sock *sk, int old, int new)
{
	struct task_struct *task;
	struct tcp_sock *tcp;
	struct sock_state *st;
	u32 *charged;

	if (!matters(old, new) || !is_tcp(sk))
		return 0;
	tcp = bpf_skc_to_tcp_sock(sk);
	if (!tcp || is_subflow(tcp))
		return 0;
	if (new == TCP_SYN_SENT) {
		/* connect(), in its caller. A socket can connect again after a failure: that is another flow.
		 */
		st = bpf_sk_storage_get(&sockets, sk, 0, 0);
		if (st) {
			end_slot(st);
			if (st->ref)
				hint(PS_EVENT_FLOW_END, st->ref, 0);
			bpf_sk_storage_delete(&sockets, sk);
		}
		task = bpf_get_current_task_btf();
		charge_connected(sk, 0, owner_key(task), task, 0, 1);
		return 0;
	}
	if (new == TCP_ESTABLISHED) {
		st = bpf_sk_storage_get(&sockets, sk, 0, 0);
		if (!st && old == TCP_SYN_RECV) {
			/* In a softirq: whose it is will be known when somebody uses it. */
			st = create_state(sk, 0, bpf_get_current_task_btf());
			if (st)
				st->direction = PS_IN;
		}
		if (!st)
			return 0;
		charged = baseline(st);
		if (charged)
			*charged = tcp->copied_seq;
		learn_port(st, sk);
		return 0;
	}
	st = bpf_sk_storage_get(&sockets, sk, 0, 0);
	if (st)
		learn_port(st, sk);
	return 0;
}

/* close() of the last descriptor, in its caller; not for sockets of the kernel itself. */
SEC("cgroup/sock_release")
int sock_released(struct bpf_sock *sk)
{
	struct sock_state *st = bpf_sk_storage_get(&sockets, sk, 0, 0);
	struct task_struct *task;
	u64 key;

	if (!st)
		return 1;
	if (!st->ref && !st->owner && st->protocol == IPPROTO_TCP && st->type == SOCK_STREAM &&
	    st->direction == PS_IN) {
		/* Accepted and closed without a byte. */
		struct stash ends = {.cookie = 1, .remote_port = st->remote_port};

		__builtin_memcpy(ends.local, st->local, 16);
		__builtin_memcpy(ends.remote, st->remote, 16);
		task = bpf_get_current_task_btf();
		key = owner_key(task);
		find_slot(st, key, &ends);
	}
	end_slot(st);
	if (st->ref)
		hint(PS_EVENT_FLOW_END, st->ref, 0);
	return 1;
}
