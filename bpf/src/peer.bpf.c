// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * The other end of datagrams on sockets that are not connected: the socket does not know it, the packet
 * does. Each hook but the last runs in the thread that sends or receives, before sock_send_length or
 * sock_recv_length of the same call, and leaves a note (struct stash) under the thread's id.
 *
 *   sending    cgroup/sendmsg4,6        UDP, the address given to sendto; also while corked
 *              cgroup_skb/egress        raw and ping sockets, and the local address of UDP
 *   receiving  cgroup/recvmsg4,6        UDP, when the caller asks for the address
 *              skb_copy_datagram_iovec  raw and ping sockets
 *              cgroup_skb/ingress       UDP, when the caller does not ask: see note_arrival()
 *
 * cgroup_skb/ingress also keeps the local address of arriving UDP (for sockets bound to none) and passes DNS
 * answers on. TCP packets leave both packet programs after a comparison or two and no call. A packet tap was
 * rejected: it needs one socket in every network namespace and sees forwarded traffic that is no program's.
 */
#include "maps.h"
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "address.h"
#include "cast.h"
#include "task.h"

/* Headers as the kernel has them; only what is read. */
struct iphdr {
	__be32 saddr;
	__be32 daddr;
} __attribute__((preserve_access_index));
struct ipv6hdr {
	struct in6_addr saddr;
	struct in6_addr daddr;
} __attribute__((preserve_access_index));

/* Updates in place where this thread has a note already; makes the note otherwise. */
static __always_inline void leave_note(u64 cookie, u64 sock, const u8 *remote, u16 port, const u8 *local)
{
	u32 tid = (u32)bpf_get_current_pid_tgid();
	struct stash *note = bpf_map_lookup_elem(&stashes, &tid);
	struct stash fresh = {};

	if (!note) {
		bpf_map_update_elem(&stashes, &tid, &fresh, BPF_ANY);
		note = bpf_map_lookup_elem(&stashes, &tid);
		if (!note)
			return;
	}
	if (local)
		__builtin_memcpy(note->local, local, 16);
	else
		__builtin_memset(note->local, 0, 16);
	__builtin_memcpy(note->remote, remote, 16);
	note->remote_port = port;
	note->cookie = cookie;
	note->sock = sock;
}

/* A connected socket that is sent to another address: from now on its sends are looked at one by one. */
static __always_inline void note_addressed(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct sock_state *st;

	if (!sk || sk->state != TCP_ESTABLISHED)
		return;
	st = bpf_sk_storage_get(&sockets, sk, 0, 0);
	if (st && !(st->flags & SOCK_ADDRESSED))
		st->flags |= SOCK_ADDRESSED;
}

SEC("cgroup/sendmsg4")
int send_to4(struct bpf_sock_addr *ctx)
{
	u8 remote[16] __attribute__((aligned(8)));

	note_addressed(ctx);
	from_v4(remote, ctx->user_ip4);
	leave_note(bpf_get_socket_cookie(ctx), 0, remote, ctx->user_port, 0);
	return 1;
}

SEC("cgroup/sendmsg6")
int send_to6(struct bpf_sock_addr *ctx)
{
	u32 remote[4] __attribute__((aligned(8)));

	note_addressed(ctx);
	remote[0] = ctx->user_ip6[0];
	remote[1] = ctx->user_ip6[1];
	remote[2] = ctx->user_ip6[2];
	remote[3] = ctx->user_ip6[3];
	leave_note(bpf_get_socket_cookie(ctx), 0, (u8 *)remote, ctx->user_port, 0);
	return 1;
}

SEC("cgroup/recvmsg4")
int receive_from4(struct bpf_sock_addr *ctx)
{
	u8 remote[16] __attribute__((aligned(8)));
	struct bpf_sock *sk = ctx->sk;

	/* Only what was queued before connect() comes from elsewhere. */
	if (sk && sk->state == TCP_ESTABLISHED && sk->dst_ip4 == ctx->user_ip4 &&
	    sk->dst_port == ctx->user_port)
		return 1;
	note_addressed(ctx);
	from_v4(remote, ctx->user_ip4);
	leave_note(bpf_get_socket_cookie(ctx), 0, remote, ctx->user_port, 0);
	return 1;
}

SEC("cgroup/recvmsg6")
int receive_from6(struct bpf_sock_addr *ctx)
{
	u32 remote[4] __attribute__((aligned(8)));
	struct bpf_sock *sk = ctx->sk;

	if (sk && sk->state == TCP_ESTABLISHED && sk->dst_ip6[0] == ctx->user_ip6[0] &&
	    sk->dst_ip6[1] == ctx->user_ip6[1] && sk->dst_ip6[2] == ctx->user_ip6[2] &&
	    sk->dst_ip6[3] == ctx->user_ip6[3] && sk->dst_port == ctx->user_port)
		return 1;
	note_addressed(ctx);
	remote[0] = ctx->user_ip6[0];
	remote[1] = ctx->user_ip6[1];
	remote[2] = ctx->user_ip6[2];
	remote[3] = ctx->user_ip6[3];
	leave_note(bpf_get_socket_cookie(ctx), 0, (u8 *)remote, ctx->user_port, 0);
	return 1;
}

/* Addresses of an IP packet, network header first. Returns the offset of the payload, 0 if unusable. */
static __always_inline u32 read_ends(struct __sk_buff *skb, u8 *source, u8 *destination)
{
	if (skb->protocol == __builtin_bswap16(ETH_P_IP)) {
		__be32 ends[2];
		u8 first;

		if (bpf_skb_load_bytes(skb, 0, &first, 1) || bpf_skb_load_bytes(skb, 12, ends, 8))
			return 0;
		from_v4(source, ends[0]);
		from_v4(destination, ends[1]);
		return (first & 15) * 4;
	}
	if (bpf_skb_load_bytes(skb, 8, source, 16) || bpf_skb_load_bytes(skb, 24, destination, 16))
		return 0;
	return 40;
}

/* 0 before Linux 6.2: then the socket's state has it, once there is one. */
static __always_inline u32 network_of_socket(struct bpf_sock *sk)
{
	struct sock *same;

	if (!can_cast())
		return 0;
	same = bpf_rdonly_cast(sk, bpf_core_type_id_kernel(struct sock));
	return network_of(same->__sk_common.skc_net.net);
}

/*
 * The server that a datagram asks, as the program called it: port and address of the packet may have been
 * translated on the way (Docker's resolver on 127.0.0.11 is another port of the same address).
 */
static __always_inline int read_server(u8 *server, struct __sk_buff *skb, struct bpf_sock *sk,
				       struct task_struct *task, u32 payload, const u8 *destination)
{
	u32 tid = task->pid;
	struct stash *note;
	__be16 port;

	if (sk->state != TCP_CLOSE) {
		/* To port 53: see packet_out(). */
		if (sk->family == AF_INET) {
			from_v4(server, sk->dst_ip4);
			return 1;
		}
		((u32 *)server)[0] = sk->dst_ip6[0];
		((u32 *)server)[1] = sk->dst_ip6[1];
		((u32 *)server)[2] = sk->dst_ip6[2];
		((u32 *)server)[3] = sk->dst_ip6[3];
		return 1;
	}
	if (bpf_skb_load_bytes(skb, payload + 2, &port, 2))
		return 0;
	__builtin_memcpy(server, destination, 16);
	if (port == __builtin_bswap16(53))
		return 1;
	if (!is_v4_loopback(destination))
		return 0;
	note = bpf_map_lookup_elem(&stashes, &tid);
	if (!note || note->cookie != bpf_get_socket_cookie(skb) || note->remote_port != __builtin_bswap16(53))
		return 0;
	__builtin_memcpy(server, note->remote, 16);
	return 1;
}

/*
 * The begin of the question of a DNS message: a name that ends with 0, type and class; then 0. Letters in one
 * case: servers may answer in another one, and some askers mix them.
 */
static __always_inline int read_question(u64 *question, struct __sk_buff *skb, u32 dns)
{
	u32 length, last = PS_QUESTION * sizeof(u64);
	u8 *bytes = (u8 *)question;

	for (u32 i = 0; i < PS_QUESTION; i++)
		question[i] = 0;
	if (skb->len <= dns + 12)
		return 0;
	length = skb->len - dns - 12;
	if (length < 5) /* the root, a type and a class */
		return 0;
	if (length > PS_QUESTION * sizeof(u64))
		length = PS_QUESTION * sizeof(u64);
	if (bpf_skb_load_bytes(skb, dns + 12, question, length))
		return 0;
	for (u32 i = 0; i < PS_QUESTION * sizeof(u64); i++) {
		if (i > last) {
			bytes[i] = 0;
			continue;
		}
		if (!bytes[i] && last == PS_QUESTION * sizeof(u64))
			last = i + 4;
		bytes[i] |= 0x20;
	}
	return 1;
}

static __always_inline void note_query(struct __sk_buff *skb, struct bpf_sock *sk, u32 payload,
				       const u8 *destination)
{
	struct task_struct *task = bpf_get_current_task_btf();
	u8 server[16] __attribute__((aligned(8)));
	struct dns_queries *all;
	struct dns_query *query;
	u16 number;

	if (!read_server(server, skb, sk, task, payload, destination) ||
	    bpf_skb_load_bytes(skb, payload + 8, &number, 2))
		return;
	all = bpf_sk_storage_get(&dns_queries, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!all)
		return;
	query = &all->queries[__sync_fetch_and_add(&all->next, 1) % PS_QUERIES];
	query->used = 0;
	__builtin_memcpy(query->server, server, 16);
	query->start = plain(task)->group_leader->start_boottime;
	query->tgid = task->tgid;
	query->uid = task->real_cred->uid.val;
	query->network = network_of_socket(sk);
	query->number = number;
	if (!read_question(query->question, skb, payload + 8))
		return;
	query->used = 1;
}

static __always_inline int is_same_question(const u64 *one, const u64 *other)
{
	u64 differs = 0;

	for (u32 i = 0; i < PS_QUESTION; i++)
		differs |= one[i] ^ other[i];
	return !differs;
}

/* Copies the query that this answers, if it was sent through this socket. Copied at once: Linux 6.1 loses
 * track of which one it was. */
static __always_inline int find_query(struct dns_query *found, struct __sk_buff *skb, struct bpf_sock *sk,
				      u32 dns, const u8 *server)
{
	struct dns_queries *all = bpf_sk_storage_get(&dns_queries, sk, 0, 0);
	u64 question[PS_QUESTION];
	u16 number;

	if (!all || bpf_skb_load_bytes(skb, dns, &number, 2) || !read_question(question, skb, dns))
		return 0;
	for (u32 i = 0; i < PS_QUERIES; i++) {
		struct dns_query *query = &all->queries[i];

		if (!query->used || query->number != number || !is_same(query->server, server) ||
		    !is_same_question(query->question, question))
			continue;
		found->start = query->start;
		found->tgid = query->tgid;
		found->uid = query->uid;
		found->network = query->network;
		return 1;
	}
	return 0;
}

SEC("cgroup_skb/egress")
int packet_out(struct __sk_buff *skb)
{
	u8 source[16] __attribute__((aligned(8)));
	u8 destination[16] __attribute__((aligned(8)));
	struct bpf_sock *sk = skb->sk;
	struct packet_note *note;
	u32 payload;

	/* Connected: the socket itself knows both ends, only DNS queries matter. A TCP connection leaves
	 * here. */
	if (!sk || (sk->state != TCP_CLOSE && sk->dst_port != __builtin_bswap16(53)))
		return 1;
	sk = bpf_sk_fullsock(sk);
	if (!sk || (sk->protocol == IPPROTO_TCP && sk->type != SOCK_RAW))
		return 1;
	payload = read_ends(skb, source, destination);
	if (!payload)
		return 1;
	if (sk->protocol == IPPROTO_UDP && sk->type != SOCK_RAW) {
		note_query(skb, sk, payload, destination);
		if (sk->src_ip4 || sk->src_ip6[0] || sk->src_ip6[1])
			return 1; /* the socket itself knows its local address */
	}
	if (sk->state != TCP_CLOSE)
		return 1;
	note = bpf_sk_storage_get(&packets, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!note)
		return 1;
	__builtin_memcpy(note->local, source, 16);
	__builtin_memcpy(note->remote, destination, 16);
	/* bpf_get_current_pid_tgid() is not for these programs everywhere. */
	note->tid = bpf_get_current_task_btf()->pid;
	return 1;
}

/* A DNS answer, if it was asked for through this socket. It is the asker's. */
static __always_inline void pass_dns(struct __sk_buff *skb, struct bpf_sock *sk, u32 dns, const u8 *server)
{
	struct dns_query query = {};
	struct ps_dns_event *event;
	struct sock_state *st;
	struct ps_lost *l;
	u32 length, zero = 0;

	if (!find_query(&query, skb, sk, dns, server))
		return;
	event = bpf_map_lookup_elem(&dns_scratch, &zero);
	if (!event || skb->len <= dns)
		return;
	length = skb->len - dns;
	if (length < 12)
		return;
	if (length > PS_DNS)
		length = PS_DNS;
	if (bpf_skb_load_bytes(skb, dns, event->payload, length))
		return;
	event->kind = PS_EVENT_DNS;
	st = bpf_sk_storage_get(&sockets, sk, 0, 0);
	event->network = st ? st->network : query.network;
	event->tgid = query.tgid;
	event->uid = query.uid;
	event->start = query.start;
	event->time = bpf_ktime_get_boot_ns();
	event->length = length;
	if (bpf_ringbuf_output(&events, event, __builtin_offsetof(struct ps_dns_event, payload) + length,
			       lazily())) {
		l = lost_counters();
		if (l)
			l->name_events++;
	}
}

/*
 * Who asks for a datagram without asking for its sender is told it here, as long as there is but one: packets
 * may be dropped between here and the reader, so with several nobody knows whose comes next.
 */
static __always_inline void note_arrival(struct bpf_sock *sk, const u8 *remote, u16 port, const u8 *local)
{
	struct arrival *a = bpf_sk_storage_get(&arrivals, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);

	if (!a)
		return;
	__builtin_memcpy(a->local, local, 16);
	if (a->sources == MANY_SOURCES ||
	    (a->sources == ONE_SOURCE && a->remote_port == port && is_same(a->remote, remote)))
		return;
	if (__sync_val_compare_and_swap(&a->sources, NO_SOURCE, SOURCE_COMES) != NO_SOURCE) {
		a->sources = MANY_SOURCES;
		return;
	}
	__builtin_memcpy(a->remote, remote, 16);
	a->remote_port = port;
	__sync_val_compare_and_swap(&a->sources, SOURCE_COMES, ONE_SOURCE);
}

SEC("cgroup_skb/ingress")
int packet_in(struct __sk_buff *skb)
{
	u8 source[16] __attribute__((aligned(8)));
	u8 destination[16] __attribute__((aligned(8)));
	struct bpf_sock *sk = skb->sk;
	u8 *data = (u8 *)(long)skb->data;
	__be16 ports[2];
	u32 payload;

	/* Both versions of IP have their protocol here, or there is an option that UDP does not come after.
	 */
	if (!sk || data + 10 > (u8 *)(long)skb->data_end ||
	    (skb->protocol == __builtin_bswap16(ETH_P_IP) ? data[9] : data[6]) != IPPROTO_UDP)
		return 1;
	sk = bpf_sk_fullsock(sk);
	if (!sk || sk->protocol != IPPROTO_UDP || sk->type == SOCK_RAW)
		return 1;
	payload = read_ends(skb, source, destination);
	if (!payload || bpf_skb_load_bytes(skb, payload, ports, 4))
		return 1;
	if (sk->state != TCP_ESTABLISHED)
		note_arrival(sk, source, ports[0], destination);
	if (ports[0] == __builtin_bswap16(53))
		pass_dns(skb, sk, payload + 8, source);
	return 1;
}

SEC("tp_btf/skb_copy_datagram_iovec")
int datagram_copied(u64 *ctx)
{
	struct sk_buff *skb = can_cast()
				  ? bpf_rdonly_cast((void *)ctx[0], bpf_core_type_id_kernel(struct sk_buff))
				  : (struct sk_buff *)ctx[0];
	u8 remote[16] __attribute__((aligned(8)));
	struct sock *sk = skb->sk;
	u64 header;

	/* A TCP connection leaves here, and so does what is connected and knows its peer anyway. */
	if (!sk || sk->__sk_common.skc_state != TCP_CLOSE)
		return 0;
	if ((sk->sk_protocol == IPPROTO_TCP || sk->sk_protocol == IPPROTO_UDP) && sk->sk_type != SOCK_RAW)
		return 0;
	header = (u64)skb->head + skb->network_header;
	if (sk->__sk_common.skc_family == AF_INET) {
		from_v4(remote, READ_AS(iphdr, header, saddr));
	} else if (sk->__sk_common.skc_family == AF_INET6) {
		for (int i = 0; i < 4; i++)
			((u32 *)remote)[i] = READ_AS(ipv6hdr, header, saddr.in6_u.u6_addr32[i]);
	} else {
		return 0;
	}
	leave_note(0, (u64)sk, remote, 0, 0);
	return 0;
}
