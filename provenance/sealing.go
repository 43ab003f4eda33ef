package provenance

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/sign"
	"github.com/sigstore/sigstore/pkg/cryptoutils"

	"github.com/isotrace/isotrace/internal/fault"
)

// Sealing says how a release is signed: with a key, or, where there is none, with a
// key of the moment that a certificate authority gives to an identity.
type Sealing struct {
	// Signer is the release manager's key.
	Signer *Signer
	// Fulcio is the address of the certificate authority, and Token the OpenID Connect
	// token that says who asks.
	Fulcio, Token string
	// TSAs are the addresses of RFC 3161 timestamp authorities.
	TSAs []string
	// Rekor is the address of a transparency log; "" for none.
	Rekor string
}

// Sealer makes the bundles of one release.
type Sealer struct {
	signer  *Signer
	keyless bool
	options sign.BundleOptions
}

// Open prepares to sign; a key of the moment is made here.
func (s Sealing) Open(ctx context.Context) (*Sealer, error) {
	out := &Sealer{signer: s.Signer, options: sign.BundleOptions{Context: ctx}}
	transport := bound{ctx}
	if s.Signer == nil {
		if s.Fulcio == "" || s.Token == "" {
			return nil, fault.New(fault.Usage, "name a key with --key, or --fulcio and an identity token", "nothing to sign the release with")
		}
		if s.Rekor == "" && len(s.TSAs) == 0 {
			return nil, fault.New(fault.Usage, "name one with --tsa or --rekor", "a certificate of minutes needs somebody who says when it signed")
		}
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		if out.signer, err = signerWith("of the moment", key); err != nil {
			return nil, err
		}
		out.keyless = true
		out.options.CertificateProvider = sign.NewFulcio(&sign.FulcioOptions{BaseURL: s.Fulcio, Transport: transport, Retries: 2})
		out.options.CertificateProviderOptions = &sign.CertificateProviderOptions{IDToken: s.Token}
	}
	for _, url := range s.TSAs {
		out.options.TimestampAuthorities = append(out.options.TimestampAuthorities,
			sign.NewTimestampAuthority(&sign.TimestampAuthorityOptions{URL: url, Transport: transport, Retries: 2}))
	}
	if s.Rekor != "" {
		out.options.TransparencyLogs = []sign.Transparency{sign.NewRekor(&sign.RekorOptions{BaseURL: s.Rekor, Retries: 2})}
	}
	return out, nil
}

// bound gives requests a context that the library leaves out.
type bound struct{ ctx context.Context }

func (b bound) RoundTrip(r *http.Request) (*http.Response, error) {
	return http.DefaultTransport.RoundTrip(r.WithContext(b.ctx))
}

// File is the bundle of a file of any size.
func (s *Sealer) File(c Content) ([]byte, error) {
	return s.bundle(streamed{}, keypair{s.signer, c})
}

// Statement is the bundle of an in-toto statement.
func (s *Sealer) Statement(st Statement) ([]byte, error) {
	text, err := st.payload()
	if err != nil {
		return nil, err
	}
	return s.bundle(&sign.DSSEData{Data: text, PayloadType: payloadType}, keypair{Signer: s.signer})
}

func (s *Sealer) bundle(c sign.Content, k keypair) ([]byte, error) {
	b, err := sign.Bundle(c, k, s.options)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	return marshalBundle(b)
}

// Detached are the signatures of a file as cosign (base64) and openssl (raw) read them.
func (s *Sealer) Detached(c Content) (text, raw []byte, err error) {
	if raw, err = s.signer.signContent(c); err != nil {
		return nil, nil, err
	}
	return []byte(base64.StdEncoding.EncodeToString(raw) + "\n"), raw, nil
}

// TSARoot is a trusted root with one timestamp authority, made of its certificates in
// PEM: that which signs timestamps first, the root last.
func TSARoot(name string, chain []byte) ([]byte, error) {
	certs, err := cryptoutils.UnmarshalCertificatesFromPEM(chain)
	if err != nil || len(certs) < 2 {
		return nil, fault.New(fault.Usage, "the certificate that signs timestamps first, the root last", "%s: want at least two certificates in PEM, have %d: %w", name, len(certs), err)
	}
	leaf, last := certs[0], certs[len(certs)-1]
	tsa := &root.SigstoreTimestampingAuthority{
		Leaf: leaf, Intermediates: certs[1 : len(certs)-1], Root: last,
		ValidityPeriodStart: leaf.NotBefore, ValidityPeriodEnd: leaf.NotAfter,
	}
	r, err := root.NewTrustedRoot(root.TrustedRootMediaType01, nil, nil, []root.TimestampingAuthority{tsa}, nil)
	if err != nil {
		return nil, err
	}
	text, err := r.MarshalJSON()
	if err != nil {
		return nil, err
	}
	return compactJSON(text)
}

// compactJSON takes out the white space, which protojson varies on purpose.
func compactJSON(text []byte) ([]byte, error) {
	var out bytes.Buffer
	if err := json.Compact(&out, text); err != nil {
		return nil, err
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}
