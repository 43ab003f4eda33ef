package sandbox

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// abi is one of the ways in which programs call the kernel.
type abi struct {
	arch uint32 // AUDIT_ARCH_*
	// last is the highest call that is let through: what a newer kernel has besides is
	// missing, as in an older one.
	last uint32
	// refused are those that a program without privileges may not make, which it is told;
	// missing are those that seem not to be there, for which programs have another way.
	refused, missing []uint32
	clone, socket    uint32
}

// The calls that are refused are those that the container engines refuse to a container
// without privileges: what mounts, makes or enters namespaces, sets clocks or the kernel,
// loads code into it, or has been a way around permissions. Most need capabilities that
// a sandbox lacks anyhow; a fault of the kernel is out of reach with the call.
var refusedCalls = []uint32{
	unix.SYS_ACCT, unix.SYS_ADD_KEY, unix.SYS_ADJTIMEX, unix.SYS_BPF, unix.SYS_CLOCK_ADJTIME, unix.SYS_CLOCK_SETTIME,
	unix.SYS_DELETE_MODULE, unix.SYS_FANOTIFY_INIT, unix.SYS_FINIT_MODULE, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT,
	unix.SYS_FSOPEN, unix.SYS_FSPICK, unix.SYS_INIT_MODULE, unix.SYS_KCMP, unix.SYS_KEXEC_FILE_LOAD, unix.SYS_KEXEC_LOAD,
	unix.SYS_KEYCTL, unix.SYS_MOUNT, unix.SYS_MOUNT_SETATTR, unix.SYS_MOVE_MOUNT, unix.SYS_OPEN_BY_HANDLE_AT,
	unix.SYS_OPEN_TREE, 467 /* open_tree_attr */, unix.SYS_PERF_EVENT_OPEN, unix.SYS_PIDFD_GETFD, unix.SYS_PIVOT_ROOT,
	unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_QUOTACTL, unix.SYS_QUOTACTL_FD, unix.SYS_REBOOT,
	unix.SYS_REQUEST_KEY, unix.SYS_SETDOMAINNAME, unix.SYS_SETHOSTNAME, unix.SYS_SETNS, unix.SYS_SETTIMEOFDAY,
	unix.SYS_SWAPOFF, unix.SYS_SWAPON, unix.SYS_SYSLOG, unix.SYS_UMOUNT2, unix.SYS_UNSHARE, unix.SYS_USERFAULTFD,
	unix.SYS_VHANGUP,
}

// nativeABI is that of the processor's own 64-bit programs; more are the calls that it
// alone has, and which are refused, too.
func nativeABI(arch uint32, more ...uint32) abi {
	return abi{
		arch: arch, last: lastCall, clone: unix.SYS_CLONE, socket: unix.SYS_SOCKET, refused: append(more, refusedCalls...),
		missing: []uint32{unix.SYS_CLONE3, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER, unix.SYS_IO_URING_SETUP},
	}
}

// lastCall is file_setattr of Linux 6.17; new calls have one number everywhere.
const lastCall = 469

// newNamespaces are the flags of clone(2) that make a namespace.
const newNamespaces = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWUSER |
	unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWTIME

// families are the sockets that there can be. What a network namespace does not hold
// back, such as AF_VSOCK, which leads to a virtual machine's host, is left out.
var families = []uint32{unix.AF_UNIX, unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK}

// Offsets into struct seccomp_data.
const (
	dataNumber   = 0
	dataArch     = 4
	dataArgument = 16 // the lower half of the first; little-endian, as both ABIs are
)

// filter is the program of the seccomp filter, for those ABIs; what comes by another is
// refused as missing.
func filter(abis []abi) []unix.SockFilter {
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	result := func(r uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: r} }
	// when returns the result where the test holds, and goes on where it does not.
	when := func(test uint16, k, r uint32) []unix.SockFilter {
		return []unix.SockFilter{{Code: unix.BPF_JMP | test | unix.BPF_K, Jf: 1, K: k}, result(r)}
	}
	const refused, missing = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM), unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
	program := []unix.SockFilter{load(dataArch)}
	for _, a := range abis {
		body := []unix.SockFilter{load(dataNumber)}
		body = append(body, when(unix.BPF_JGE, a.last+1, missing)...) // x32's are above, too
		for _, n := range a.missing {
			body = append(body, when(unix.BPF_JEQ, n, missing)...)
		}
		for _, n := range a.refused {
			body = append(body, when(unix.BPF_JEQ, n, refused)...)
		}
		body = append(body, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 4, K: a.clone}, load(dataArgument))
		body = append(body, when(unix.BPF_JSET, newNamespaces, refused)...)
		body = append(body, result(unix.SECCOMP_RET_ALLOW))
		sockets := []unix.SockFilter{load(dataArgument)}
		for _, f := range families {
			sockets = append(sockets, when(unix.BPF_JEQ, f, unix.SECCOMP_RET_ALLOW)...)
		}
		sockets = append(sockets, result(unix.SECCOMP_RET_ERRNO|uint32(unix.EAFNOSUPPORT)))
		body = append(body, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: uint8(len(sockets)), K: a.socket})
		body = append(body, sockets...)
		body = append(body, result(unix.SECCOMP_RET_ALLOW))
		// A conditional jump goes no further than 255, hence the other one.
		program = append(program, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 1, K: a.arch},
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JA, K: uint32(len(body))})
		program = append(program, body...)
	}
	return append(program, result(missing))
}

// installFilter holds this thread, and what it starts, to the filter. No more privileges
// must be to be had, see dropPrivileges.
func installFilter() error {
	if len(abis) == 0 {
		return errors.New("no filter of system calls is known for this processor: build on amd64 or arm64")
	}
	program := filter(abis)
	prog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	// Without SPEC_ALLOW old kernels slow down every program that has a filter.
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW, uintptr(unsafe.Pointer(&prog))); errno != 0 {
		return fmt.Errorf("install the filter of system calls: %w", errno)
	}
	return nil
}
