/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Programs that do nothing, on the hooks of ours that run per send and per receive: what the kernel
 * takes to call any program there at all, measured in the same run.
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
