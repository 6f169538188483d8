/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Programs that do nothing, on each hook of ours that runs per send, per receive or per packet: what the
 * kernel takes to call any program there at all, measured in the same run.
 */
#define SEC(name) __attribute__((section(name), used))

char LICENSE[] SEC("license") = "GPL";

SEC("tp_btf/sock_send_length")
int empty_send(void *ctx)
{
	(void)ctx;
	return 0;
}

SEC("tp_btf/sock_recv_length")
int empty_receive(void *ctx)
{
	(void)ctx;
	return 0;
}

SEC("tp_btf/tcp_rcv_space_adjust")
int empty_adjust(void *ctx)
{
	(void)ctx;
	return 0;
}

SEC("tp_btf/skb_copy_datagram_iovec")
int empty_copied(void *ctx)
{
	(void)ctx;
	return 0;
}

SEC("cgroup_skb/egress")
int empty_out(void *ctx)
{
	(void)ctx;
	return 1;
}

SEC("cgroup_skb/ingress")
int empty_in(void *ctx)
{
	(void)ctx;
	return 1;
}
