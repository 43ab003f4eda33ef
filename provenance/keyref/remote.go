//go:build keyservices

package keyref

import (
	"context"

	cosign "github.com/sigstore/cosign/v2/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature"

	// The services that a reference may name.
	_ "github.com/sigstore/sigstore/pkg/signature/kms/aws"
	_ "github.com/sigstore/sigstore/pkg/signature/kms/azure"
	_ "github.com/sigstore/sigstore/pkg/signature/kms/gcp"
	_ "github.com/sigstore/sigstore/pkg/signature/kms/hashivault"
)

func init() {
	openRemote = func(ctx context.Context, ref string, password func() ([]byte, error)) (signature.SignerVerifier, error) {
		return cosign.SignerVerifierFromKeyRef(ctx, ref, func(bool) ([]byte, error) { return password() }, nil)
	}
}
