package sandbox

import "golang.org/x/sys/unix"

var abis = []abi{nativeABI(unix.AUDIT_ARCH_AARCH64)}
