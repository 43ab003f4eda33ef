// Package keyref opens private keys by reference, as cosign does: a file, an environment
// variable, a token behind PKCS#11, or a key management service.
package keyref

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/sigstore/sigstore/pkg/signature"

	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/regular"
	"github.com/isotrace/isotrace/provenance"
)

const (
	env    = "env://"
	pkcs11 = "pkcs11:"
)

// services are the schemes of key management services.
var services = []string{"awskms://", "azurekms://", "gcpkms://", "hashivault://", "openbao://"}

// maxKey bounds a private key, in bytes.
const maxKey = 1 << 16

// IsFile tells whether a reference is the path of a file.
func IsFile(ref string) bool { return !strings.Contains(ref, "://") && !strings.HasPrefix(ref, pkcs11) }

// Open opens a private key. The password is asked for where the key is encrypted; tokens
// and services take what lets one use them from the environment, as cosign has it:
// COSIGN_PKCS11_PIN, VAULT_TOKEN and so on.
func Open(ctx context.Context, ref string, password func() ([]byte, error)) (*provenance.Signer, error) {
	switch {
	case IsFile(ref):
		st, err := os.Stat(ref)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fault.New(fault.Usage, "isotrace keys new makes one; --key names another", "%s: there is no key to sign with", ref)
		}
		if err != nil {
			return nil, err
		}
		if st.Size() > maxKey {
			return nil, fault.New(fault.Usage, "", "%s: longer than %d bytes", ref, maxKey)
		}
		text, err := regular.ReadNamed(ref, maxKey)
		if err != nil {
			return nil, err
		}
		return load(ref, text, password)
	case strings.HasPrefix(ref, env):
		text, ok := os.LookupEnv(strings.TrimPrefix(ref, env))
		if !ok || len(text) > maxKey {
			return nil, fault.New(fault.Usage, "put a key in cosign's format into it", "key %s: the variable is not set, or is too long", ref)
		}
		return load(ref, []byte(text), password)
	case !strings.HasPrefix(ref, pkcs11) && !isService(ref):
		return nil, fault.New(fault.Usage, "a file, env://NAME, pkcs11:…, or one of "+strings.Join(services, "… ")+"…", "key %s: is no reference to a key that isotrace knows", ref)
	case openRemote == nil:
		return nil, fault.New(fault.Usage, "make build-keys makes one that has them", "key %s: this isotrace was built without tokens and key services", redacted(ref))
	case strings.HasPrefix(ref, pkcs11) && !hasPKCS11:
		return nil, fault.New(fault.Usage, "make build-keys makes one that has; it needs a C compiler", "key %s: this isotrace was built without PKCS#11", redacted(ref))
	}
	sv, err := openRemote(ctx, ref, password)
	if err != nil {
		return nil, fault.New(fault.Usage, "", "key %s: %w", redacted(ref), err)
	}
	return provenance.SignerOf(redacted(ref), sv)
}

// openRemote opens keys of tokens and services; nil in a build without them. They bring
// clients of three clouds, and would double the time that each command takes to start.
var openRemote func(ctx context.Context, ref string, password func() ([]byte, error)) (signature.SignerVerifier, error)

func load(name string, text []byte, password func() ([]byte, error)) (*provenance.Signer, error) {
	pw, err := password()
	if err != nil {
		return nil, err
	}
	return provenance.LoadSigner(name, text, pw)
}

func isService(ref string) bool {
	for _, s := range services {
		if strings.HasPrefix(ref, s) {
			return true
		}
	}
	return false
}

// redacted is a reference without the PIN that a PKCS#11 URI may hold (RFC 7512).
func redacted(ref string) string {
	rest, query, ok := strings.Cut(ref, "?")
	if !ok || !strings.HasPrefix(ref, pkcs11) {
		return ref
	}
	var kept []string
	for _, part := range strings.Split(query, "&") {
		if name, _, _ := strings.Cut(part, "="); name != "pin-value" {
			kept = append(kept, part)
		}
	}
	if len(kept) == 0 {
		return rest
	}
	return fmt.Sprintf("%s?%s", rest, strings.Join(kept, "&"))
}
