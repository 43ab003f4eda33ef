//go:build !amd64 && !arm64

package sandbox

var abis []abi
