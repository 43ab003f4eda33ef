//go:build pkcs11key && cgo

package keyref

const hasPKCS11 = true
