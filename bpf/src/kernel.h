/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The few kernel types that the programs read, cut down to the members they read. Offsets come from the
 * running kernel's BTF at load time (CO-RE); order and size here mean nothing. Anonymous unions of the
 * kernel are left out: CO-RE finds members by name through them.
 */
#ifndef PICOSNITCH_KERNEL_H
#define PICOSNITCH_KERNEL_H

typedef unsigned char __u8;
typedef short __s16;
typedef unsigned short __u16;
typedef int __s32;
typedef unsigned int __u32;
typedef long long __s64;
typedef unsigned long long __u64;
typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s64 s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;
typedef __u16 __sum16;
typedef _Bool bool;

/* Map types and flags, from include/uapi/linux/bpf.h. */
enum {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_STACK = 23,
	BPF_MAP_TYPE_SK_STORAGE = 24,
	BPF_MAP_TYPE_RINGBUF = 27,
	BPF_MAP_TYPE_BLOOM_FILTER = 30,
};
enum {
	BPF_ANY = 0,
	BPF_NOEXIST = 1,
	BPF_F_NO_PREALLOC = 1,
	BPF_F_MMAPABLE = 1024,
	BPF_SK_STORAGE_GET_F_CREATE = 1,
	BPF_RB_NO_WAKEUP = 1,
	BPF_RB_FORCE_WAKEUP = 2,
	BPF_RB_AVAIL_DATA = 0,
	BPF_RB_RING_SIZE = 1,
};
enum {
	AF_INET = 2,
	AF_INET6 = 10,
	AF_PACKET = 17,
	SOCK_STREAM = 1,
	SOCK_RAW = 3,
	IPPROTO_ICMP = 1,
	IPPROTO_TCP = 6,
	IPPROTO_UDP = 17,
	IPPROTO_ICMPV6 = 58,
	IPPROTO_MPTCP = 262,
	MSG_PEEK = 2,
	MSG_ERRQUEUE = 0x2000,
	ETH_P_IP = 0x0800,
	ETH_P_IPV6 = 0x86dd,
	PF_KTHREAD = 0x00200000,
};
/* net/tcp_states.h */
enum {
	TCP_ESTABLISHED = 1,
	TCP_SYN_SENT = 2,
	TCP_SYN_RECV = 3,
	TCP_CLOSE = 7,
	TCP_CLOSE_WAIT = 8,
};
/* sk_userlocks: the program chose the port of this very socket. */
enum {
	SOCK_BINDPORT_LOCK = 8,
};
/* enum sock_flags of include/net/sock.h: the other end has sent its FIN. */
enum {
	SOCK_DONE = 1,
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct ns_common {
	unsigned int inum;
};
struct net {
	struct ns_common ns;
	u64 net_cookie;
};
typedef struct {
	struct net *net;
} possible_net_t;
struct timespec64 {
	s64 tv_sec;
	long tv_nsec;
};
struct in6_addr {
	union {
		__u8 u6_addr8[16];
		__be32 u6_addr32[4];
	} in6_u;
};
struct socket;
struct page;
struct proto {
	int (*sendpage)(void); /* gone since 6.5 */
};
struct sock_common {
	struct proto *skc_prot;
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__be16 skc_dport;
	__u16 skc_num;
	unsigned short skc_family;
	volatile unsigned char skc_state;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
	unsigned long skc_flags;
};
struct bpf_local_storage {
	void *cache[16]; /* of struct bpf_local_storage_data */
};
struct bpf_local_storage_data {
	void *smap; /* the map that it is an entry of */
	u8 data[];
};
struct sock {
	struct sock_common __sk_common;
	struct bpf_local_storage *sk_bpf_storage;
	u16 sk_type;
	u16 sk_protocol;
	struct socket *sk_socket;
	struct {
		int owned; /* by a process, that may sleep with it */
	} sk_lock;
	u8 sk_kern_sock : 1;
	u8 sk_userlocks : 4;
};
struct inet_bind_bucket {
	signed char fastreuse; /* -1: connect() chose the port */
};
struct inet_connection_sock {
	struct inet_bind_bucket *icsk_bind_hash; /* an accepted socket has its listener's */
};
struct inet_sock {
	struct sock sk;
	__be16 inet_sport;
	__be32 inet_saddr;
};
struct tcp_sock {
	u32 copied_seq;
	u32 rcv_nxt;
	bool is_mptcp;
};
struct mptcp_sock {
	struct sock *first; /* the first subflow: it knows the ends before the whole does */
};
struct packet_sock {
	int ifindex;
};
struct super_block {
	u32 s_dev;
};
struct inode {
	struct super_block *i_sb;
	unsigned long i_ino;
	__u32 i_generation;
};
struct qstr {
	const unsigned char *name;
};
struct dentry {
	struct qstr d_name;
};
struct path {
	struct dentry *dentry;
};
struct file {
	struct inode *f_inode;
	struct path f_path;
};
struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};
struct files_struct {
	struct fdtable *fdt;
};
typedef struct {
	u64 ctx_id; /* x86: never used again */
} mm_context_t;
struct mm_struct {
	mm_context_t context;
	struct file *exe_file;
	unsigned long arg_start;
	unsigned long arg_end;
};
typedef struct {
	unsigned int val;
} kuid_t;
struct cred {
	kuid_t uid;
	kuid_t euid;
};
struct mnt_namespace {
	struct ns_common ns;
};
struct nsproxy {
	struct mnt_namespace *mnt_ns;
	struct net *net_ns;
};
typedef struct {
	int counter;
} atomic_t;
struct linux_binprm {
	const char *interp;
};
struct socket {
	struct file *file;
	struct sock *sk;
};
struct signal_struct {
	atomic_t live;
};
struct task_struct {
	unsigned int flags;
	int pid;
	int tgid;
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	u64 start_boottime;
	u32 self_exec_id;
	const struct cred *real_cred;
	const struct cred *cred;
	char comm[16];
	struct files_struct *files;
	struct nsproxy *nsproxy;
	struct signal_struct *signal;
	struct mm_struct *mm;
};
struct sk_buff {
	struct sock *sk;
	unsigned char *head;
	__u16 transport_header;
	__u16 network_header;
	__be16 protocol;
};

#pragma clang attribute pop

/* Contexts of cgroup programs: user-space ABI (include/uapi/linux/bpf.h), not relocated. */
struct bpf_sock {
	__u32 bound_dev_if;
	__u32 family;
	__u32 type;
	__u32 protocol;
	__u32 mark;
	__u32 priority;
	__u32 src_ip4;
	__u32 src_ip6[4];
	__u32 src_port; /* host order */
	__be16 dst_port;
	__u16 : 16;
	__u32 dst_ip4;
	__u32 dst_ip6[4];
	__u32 state;
	__s32 rx_queue_mapping;
};
struct bpf_sock_addr {
	__u32 user_family;
	__u32 user_ip4;
	__u32 user_ip6[4];
	__u32 user_port; /* network order, low half */
	__u32 family;
	__u32 type;
	__u32 protocol;
	__u32 msg_src_ip4;
	__u32 msg_src_ip6[4];
	__attribute__((aligned(8))) struct bpf_sock *sk;
};
struct __sk_buff {
	__u32 len;
	__u32 pkt_type;
	__u32 mark;
	__u32 queue_mapping;
	__u32 protocol;
	__u32 vlan_present;
	__u32 vlan_tci;
	__u32 vlan_proto;
	__u32 priority;
	__u32 ingress_ifindex;
	__u32 ifindex;
	__u32 tc_index;
	__u32 cb[5];
	__u32 hash;
	__u32 tc_classid;
	__u32 data;
	__u32 data_end;
	__u32 napi_id;
	__u32 family;
	__u32 remote_ip4;
	__u32 local_ip4;
	__u32 remote_ip6[4];
	__u32 local_ip6[4];
	__u32 remote_port;
	__u32 local_port;
	__u32 data_meta;
	__attribute__((aligned(8))) void *flow_keys;
	__u64 tstamp;
	__u32 wire_len;
	__u32 gso_segs;
	__attribute__((aligned(8))) struct bpf_sock *sk;
};

/* x86-64 argument registers, for uprobes. */
#if defined(__TARGET_ARCH_x86)
struct pt_regs {
	unsigned long r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8;
	unsigned long rax, rcx, rdx, rsi, rdi, orig_rax, rip, cs, eflags, rsp, ss;
};
#elif defined(__TARGET_ARCH_arm64)
struct user_pt_regs {
	__u64 regs[31];
	__u64 sp, pc, pstate;
};
#endif

#endif
