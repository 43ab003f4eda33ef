package sandbox

import "golang.org/x/sys/unix"

var abis = []abi{
	nativeABI(unix.AUDIT_ARCH_X86_64, unix.SYS_IOPERM, unix.SYS_IOPL, unix.SYS_LOOKUP_DCOOKIE, unix.SYS_NFSSERVCTL, unix.SYS_SYSFS, unix.SYS__SYSCTL, unix.SYS_USELIB, unix.SYS_USTAT),
	{
		arch: unix.AUDIT_ARCH_I386, last: lastCall, clone: 120, socket: 359,
		refused: []uint32{
			51 /* acct */, 286 /* add_key */, 124 /* adjtimex */, 357 /* bpf */, 343 /* clock_adjtime */, 405, /* clock_adjtime64 */
			264 /* clock_settime */, 404 /* clock_settime64 */, 129 /* delete_module */, 338 /* fanotify_init */, 350, /* finit_module */
			431 /* fsconfig */, 432 /* fsmount */, 430 /* fsopen */, 433 /* fspick */, 128 /* init_module */, 101 /* ioperm */, 110, /* iopl */
			349 /* kcmp */, 283 /* kexec_load */, 288 /* keyctl */, 253 /* lookup_dcookie */, 21 /* mount */, 442, /* mount_setattr */
			429 /* move_mount */, 169 /* nfsservctl */, 342 /* open_by_handle_at */, 428 /* open_tree */, 467, /* open_tree_attr */
			336 /* perf_event_open */, 438 /* pidfd_getfd */, 217 /* pivot_root */, 347 /* process_vm_readv */, 348, /* process_vm_writev */
			131 /* quotactl */, 443 /* quotactl_fd */, 88 /* reboot */, 287 /* request_key */, 121 /* setdomainname */, 74, /* sethostname */
			346 /* setns */, 79 /* settimeofday */, 25 /* stime */, 115 /* swapoff */, 87 /* swapon */, 135 /* sysfs */, 103, /* syslog */
			149 /* _sysctl */, 22 /* umount */, 52 /* umount2 */, 310 /* unshare */, 86 /* uselib */, 374 /* userfaultfd */, 62, /* ustat */
			111 /* vhangup */, 166 /* vm86 */, 113, /* vm86old */
		},
		// The arguments of socketcall lie in memory, where a filter cannot look.
		missing: []uint32{435 /* clone3 */, 426 /* io_uring_enter */, 427 /* io_uring_register */, 425 /* io_uring_setup */, 102 /* socketcall */},
	},
}
