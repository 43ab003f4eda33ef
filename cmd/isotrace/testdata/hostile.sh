#!/bin/sh
# What a hostile program of a base image, a package or a project tries. It says which ways out
# are open; what would change the host is tried in a way that leaves it as it is.
tries=0
open=none
try() {
	tries=$((tries + 1))
	what=$1
	shift
	"$@" >/dev/null 2>&1 </dev/null && open="$open, $what"
}
writes() { true >>"$1"; }
# A call counts as refused where it gives that error, 1 for EPERM or 38 for ENOSYS, and no other.
refused() {
	perl -e '($want, $n, @a) = map { $_ + 0 } @ARGV; exit(syscall($n, @a) == -1 && $! == $want)' "$@"
}

for f in kernel/core_pattern kernel/modprobe kernel/hostname vm/overcommit_memory fs/binfmt_misc/register; do
	try "write to /proc/sys/$f" writes /proc/sys/$f
done
for f in /proc/sysrq-trigger /proc/irq/default_smp_affinity /proc/1/mem; do
	try "write to $f" writes $f
done
for f in /sys/kernel/uevent_helper /sys/power/state /sys/fs/cgroup/cgroup.procs; do
	try "write to $f" writes $f
done
try "read /proc/kcore" perl -e 'open(F, "<", "/proc/kcore") or exit(1); exit(!read(F, $b, 1))'
try "the first process's root" ls /proc/1/root/usr
try "a mount" mount -t tmpfs none /mnt
try "a bind over /proc" mount --bind /etc /proc/sys
try "a user namespace" unshare -Ur true
try "a mount namespace" unshare -m true
try "the first process's namespaces" nsenter -t 1 -m true
try "a memory device" mknod /tmp/mem c 1 1
try "a disk device" mknod /tmp/disk b 8 0
try "the clock" date -s "@$(date +%s)"
try "the host name" perl -e 'exit(syscall(170, "isotrace", 8) != 0)'
try "following the first process" perl -e 'exit(syscall(101, 16, 1, 0, 0) != 0)'
try "a keyring" refused 1 250 0 -3 1
try "bpf" refused 1 321 0 0 0
try "userfaultfd" refused 1 323 0
try "performance counters" refused 1 298 0 0 -1 -1 0
try "a kernel" refused 1 246 0 0 0 0
try "a module" refused 1 175 0 0 0
try "files by handle" refused 1 304 -1 0 0
try "another namespace" refused 1 308 -1 0
try "rings of calls" refused 38 425 1 0
try "clone3" refused 38 435 0 0

# Links where somebody may write later.
for n in 0 1 2 3; do
	rm -f /tmp/script-$n
	ln -s @VICTIM@ /tmp/script-$n
	ln -s @VICTIM@ /run/script-$n
done
ln -s @VICTIM@ /tmp/out
echo "hostile-@NAME@: $tries ways, open: $open"
