/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The only contract between the kernel side and user space. bindgen makes the Rust types from this
 * file; both sides assert the sizes at the end.
 *
 * Flows live in slots. A slot has two halves, at the same index of two arrays:
 *   counters[slot]  the bytes;
 *   flows[slot]     who talks to whom; user space reads it once, when the slot opens.
 * Both are memory that user space maps: with a system call for each flow, most of its time goes there.
 * Slots go back in bundles, for the same reason.
 * The ring buffer carries only "look at slot N" and process events. When it is full nothing of a flow
 * is lost: the slots themselves are the truth, and `lost` tells user space to look through all of them.
 *
 * Times are CLOCK_BOOTTIME nanoseconds. Addresses and ports are in network byte order, IPv4 addresses
 * as ::ffff:a.b.c.d. Counters only grow; user space remembers what it has read and takes differences,
 * so that a concurrent send is neither lost nor counted twice.
 */
#ifndef PICOSNITCH_WIRE_H
#define PICOSNITCH_WIRE_H

enum {
	PS_COMM = 16,	 /* TASK_COMM_LEN */
	PS_FILE = 64,	 /* bytes of a file's own name that are kept */
	PS_CALLED = 256, /* bytes of a path given to exec that are kept */
	PS_ARGV = 4096,	 /* bytes of a command line that are kept */
	PS_DNS = 1232,	 /* bytes of a DNS answer that are kept (the EDNS size everybody uses) */
	PS_NODE = 256,	 /* bytes of a name given to getaddrinfo, NUL included */
	PS_ANSWERS = 32, /* entries of one getaddrinfo answer that are kept: one an address and socket type */
	PS_SLOTS = 65536, /* flows at once */
	PS_NO_SLOT = 0xffffffff,
	PS_BUNDLE = 255, /* slots that go back at once */
};

/* counters.state. Kernel: FREE -> LIVE -> ENDED. User space: LIVE -> RETIRED, ENDED/RETIRED -> FREE. */
enum ps_state {
	PS_FREE = 0,
	PS_LIVE = 1,	/* may still grow */
	PS_ENDED = 2,	/* socket closed: final */
	PS_RETIRED = 3, /* user space wants it back: the kernel adds no more once it has seen this */
};

enum ps_event {
	PS_EVENT_FLOW = 1, /* struct ps_flow_event: slot opened, or changed for the better (ports) */
	PS_EVENT_FLOW_END = 2,
	PS_EVENT_FORK = 3, /* struct ps_fork_event */
	PS_EVENT_EXEC = 4, /* struct ps_exec_event */
	PS_EVENT_EXIT = 5, /* struct ps_exit_event */
	PS_EVENT_DNS = 6,  /* struct ps_dns_event */
	PS_EVENT_NAME = 7, /* struct ps_name_event */
};

enum ps_direction {
	PS_OUT = 1,
	PS_IN = 2,
};

/* Identity of an executable file, as the kernel knows it while the file is in use. */
struct ps_file {
	unsigned long long inode; /* address of the inode: equal means the same file */
	unsigned long long ino;	  /* i_ino */
	unsigned int dev;	  /* s_dev, kernel encoding: major << 20 | minor */
	unsigned int generation;  /* i_generation */
};

/* A process (thread group) at one moment. A pid alone is no identity: start and exec_id make it one. */
struct ps_process {
	unsigned long long start; /* start_boottime of the leader, ns */
	unsigned int tgid;	  /* in the initial pid namespace; 0: no such process */
	unsigned int exec_id;	  /* grows by one with each exec */
	unsigned int uid;	  /* real, initial user namespace */
	unsigned int euid;	  /* effective, initial user namespace */
	unsigned int mntns;	  /* mount namespace, inode number */
	unsigned int kernel;	  /* 1: a kernel thread, file is zero; the kernel itself, if tgid is 0, too */
	struct ps_file file;
	char comm[PS_COMM]; /* of the leader; not always NUL-terminated text */
};

/* Who talks to whom through one slot. */
struct ps_flow {
	struct ps_process process;
	struct ps_process parent; /* real_parent at first use */
	struct ps_process grandparent;
	unsigned long long opened;  /* ns */
	unsigned long long cgroup;  /* cgroup v2 id */
	unsigned long long cookie;  /* of the socket: no other one has had it */
	unsigned int generation;    /* equals counters.generation while the slot holds this flow */
	unsigned int netns;	    /* network namespace of the socket, inode number */
	unsigned int ifindex;	    /* AF_PACKET: interface bound to, else 0 */
	unsigned short family;	    /* AF_INET, AF_INET6, AF_PACKET */
	unsigned short type;	    /* SOCK_STREAM, … */
	unsigned short protocol;    /* IPPROTO_*; AF_PACKET: 0 */
	unsigned short local_port;  /* network order; 0: not bound yet, or no ports */
	unsigned short remote_port; /* network order */
	unsigned char direction;    /* enum ps_direction */
	unsigned char peer_known;   /* 0: receive without an address on an unconnected socket */
	unsigned char local[16];    /* all zero: not bound to one address */
	unsigned char remote[16];
	unsigned int secondary; /* 1: listed in `peers`, not the socket's own slot */
	unsigned int network;	/* the namespace once more: a number that no other one has had */
};

/* The half that user space maps. */
struct ps_counters {
	unsigned long long sent;     /* bytes of payload */
	unsigned long long received; /* bytes of payload */
	unsigned int generation;     /* grows each time the slot is handed out */
	unsigned int state;	     /* enum ps_state */
	unsigned int copied;	     /* kernel only; TCP: copied_seq up to which bytes are counted */
	unsigned int padding;	     /* two to a cache line, none across two */
};

/* Slots that user space hands back: it writes them here and runs `return_slots`. One thread only. */
struct ps_returned {
	unsigned int count;
	unsigned int slots[PS_BUNDLE];
};

/* One per processor; user space adds them up. Only ever grow. */
struct ps_lost {
	unsigned long long flows;     /* sockets, and further peers and owners of one, that found no slot */
	unsigned long long recovered; /* sockets of these that got one later */
	unsigned long long sent;      /* bytes that belong to no slot */
	unsigned long long received;
	unsigned long long process_events; /* fork, exec, exit that found the ring full */
	unsigned long long name_events;	   /* dns, getaddrinfo that found the ring full */
	unsigned long long flow_events;	   /* hints that found the ring full: look through all slots */
};

struct ps_flow_event {
	unsigned int kind;
	unsigned int slot;
	unsigned int generation;
	unsigned int padding;
};

struct ps_fork_event {
	unsigned int kind;
	unsigned int child;		/* tgid */
	unsigned long long child_start; /* ns */
	unsigned long long parent_start;
	unsigned int parent;
	unsigned int exec_id; /* of both */
};

struct ps_exec_event {
	unsigned int kind;
	unsigned int argv_total; /* bytes of the whole command line */
	unsigned long long time; /* ns */
	unsigned long long cgroup;
	struct ps_process process; /* after the exec */
	struct ps_process parent;
	struct ps_process grandparent;
	unsigned int argv_length; /* bytes of argv below that are valid */
	unsigned int padding;
	char file[PS_FILE];	/* last component of the executable's path; NUL-terminated or cut */
	char called[PS_CALLED]; /* path by which the kernel was told to find it; NUL-terminated or cut */
	char argv[PS_ARGV];	/* NUL-separated; the event ends after argv_length bytes */
};

struct ps_exit_event {
	unsigned int kind;
	unsigned int tgid;
	unsigned long long start;
};

/* A DNS answer that arrived at a socket: UDP from port 53, from the DNS header on. */
struct ps_dns_event {
	unsigned int kind;
	unsigned int network;	  /* as in ps_flow */
	unsigned int tgid;	  /* who asked */
	unsigned int length;	  /* bytes of payload below */
	unsigned long long start; /* of tgid */
	unsigned long long time;  /* ns */
	unsigned int uid;	  /* of tgid, real */
	unsigned int padding;
	unsigned char payload[PS_DNS];
};

/* What getaddrinfo told a process. */
struct ps_name_event {
	unsigned int kind;
	unsigned int network; /* as in ps_flow */
	unsigned int tgid;
	unsigned int count; /* addresses below */
	unsigned int uid;   /* of tgid, real */
	unsigned int padding;
	unsigned long long start;
	unsigned long long time;		 /* ns */
	char node[PS_NODE];			 /* NUL-terminated */
	unsigned char addresses[PS_ANSWERS][16]; /* as in ps_flow.remote; zero: another family */
};

_Static_assert(sizeof(struct ps_process) == 72, "ps_process");
_Static_assert(sizeof(struct ps_flow) == 304, "ps_flow");
_Static_assert(sizeof(struct ps_counters) == 32, "ps_counters");
_Static_assert(sizeof(struct ps_returned) == 1024, "ps_returned");
_Static_assert(sizeof(struct ps_exec_event) == 4664, "ps_exec_event");

#endif
