// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * The other engine, for kernels without sock_send_length and sock_recv_length (before 6.3): the same facts at
 * the return of the functions below that, in the same thread. Not loaded where the tracepoints are.
 *
 * Each call passes one of them, and only one: inet_sendmsg and its like call the protocol, not each other.
 * But inet_sendpage (sendfile and splice, before 6.5) ends in inet_sendmsg for protocols without sendpage.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>

extern int count_sent(struct sock *sk, int ret);
extern int count_received(struct sock *sk, int ret, int flags);

struct msghdr;

SEC("?fexit/inet_sendmsg")
int BPF_PROG(older_send4, struct socket *sock, struct msghdr *msg, u64 size, int ret)
{
	return count_sent(sock->sk, ret), 0;
}

SEC("?fexit/inet6_sendmsg")
int BPF_PROG(older_send6, struct socket *sock, struct msghdr *msg, u64 size, int ret)
{
	return count_sent(sock->sk, ret), 0;
}

SEC("?fexit/inet_sendpage")
int BPF_PROG(older_send_page, struct socket *sock, struct page *page, int offset, u64 size, int flags,
	     int ret)
{
	struct proto *protocol = sock->sk->__sk_common.skc_prot;

	if (bpf_core_field_exists(protocol->sendpage) && protocol->sendpage)
		count_sent(sock->sk, ret);
	return 0;
}

SEC("?fexit/packet_sendmsg")
int BPF_PROG(older_send_packet, struct socket *sock, struct msghdr *msg, u64 size, int ret)
{
	return count_sent(sock->sk, ret), 0;
}

SEC("?fexit/inet_recvmsg")
int BPF_PROG(older_receive4, struct socket *sock, struct msghdr *msg, u64 size, int flags, int ret)
{
	return count_received(sock->sk, ret, flags), 0;
}

SEC("?fexit/inet6_recvmsg")
int BPF_PROG(older_receive6, struct socket *sock, struct msghdr *msg, u64 size, int flags, int ret)
{
	return count_received(sock->sk, ret, flags), 0;
}

/* Raw IPv6, SCTP. */
SEC("?fexit/sock_common_recvmsg")
int BPF_PROG(older_receive_raw6, struct socket *sock, struct msghdr *msg, u64 size, int flags, int ret)
{
	return count_received(sock->sk, ret, flags), 0;
}

SEC("?fexit/packet_recvmsg")
int BPF_PROG(older_receive_packet, struct socket *sock, struct msghdr *msg, u64 size, int flags, int ret)
{
	return count_received(sock->sk, ret, flags), 0;
}
