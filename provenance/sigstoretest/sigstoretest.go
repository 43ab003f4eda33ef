// Package sigstoretest serves, on the loopback, what sigstore does for keyless signatures.
package sigstoretest

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-openapi/runtime"
	"github.com/sigstore/rekor/pkg/generated/models"
	"github.com/sigstore/rekor/pkg/types"
	_ "github.com/sigstore/rekor/pkg/types/dsse/v0.0.1"
	_ "github.com/sigstore/rekor/pkg/types/hashedrekord/v0.0.1"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/testing/ca"
	"github.com/sigstore/sigstore-go/pkg/tlog"
)

// Sigstore is a certificate authority, and a transparency log with sigstore-go's virtual trust root behind it.
type Sigstore struct {
	*ca.VirtualSigstore
	issuer    *x509.Certificate
	issuerKey *ecdsa.PrivateKey
	anchor    *x509.Certificate
	URL       string
}

// The one identity, and who vouches for it.
const (
	Issuer  = "https://issuer.example.org"
	Subject = "release@example.org"
)

// New serves one until the test ends.
func New(t *testing.T) *Sigstore {
	t.Helper()
	v := &Sigstore{}
	var err error
	if v.VirtualSigstore, err = ca.NewVirtualSigstore(); err != nil {
		t.Fatal(err)
	}
	var anchorKey *ecdsa.PrivateKey
	if v.anchor, anchorKey, err = ca.GenerateRootCa(); err != nil {
		t.Fatal(err)
	}
	if v.issuer, v.issuerKey, err = ca.GenerateFulcioIntermediate(v.anchor, anchorKey); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	for path, serve := range map[string]func([]byte) (int, any, error){
		"/api/v2/signingCert": v.certify, "/api/v1/log/entries": v.enter,
	} {
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			status, answer, err := serve(body)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("ETag", "1")
			w.Header().Set("Location", "/1")
			w.WriteHeader(status)
			_ = json.NewEncoder(w).Encode(answer)
		})
	}
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	v.URL = server.URL
	return v
}

// certify is Fulcio's answer: a certificate for the key, to the one identity.
func (v *Sigstore) certify(body []byte) (int, any, error) {
	var request struct {
		PublicKeyRequest struct {
			PublicKey struct{ Content string }
		}
	}
	if err := json.Unmarshal(body, &request); err != nil {
		return 0, nil, err
	}
	block, _ := pem.Decode([]byte(request.PublicKeyRequest.PublicKey.Content))
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return 0, nil, err
	}
	issuer, err := asn1.Marshal(Issuer)
	if err != nil {
		return 0, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7), EmailAddresses: []string{Subject}, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(10 * time.Minute),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 8}, Value: issuer}},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, v.issuer, key, v.issuerKey)
	if err != nil {
		return 0, nil, err
	}
	chain := []string{}
	for _, raw := range [][]byte{der, v.issuer.Raw} {
		chain = append(chain, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw})))
	}
	return http.StatusOK, map[string]any{"signedCertificateEmbeddedSct": map[string]any{"chain": map[string]any{"certificates": chain}}}, nil
}

// enter is Rekor's answer: the entry, its inclusion and the promise.
func (v *Sigstore) enter(body []byte) (int, any, error) {
	proposed, err := models.UnmarshalProposedEntry(strings.NewReader(string(body)), runtime.JSONConsumer())
	if err != nil {
		return 0, nil, err
	}
	entry, err := types.CreateVersionedEntry(proposed)
	if err != nil {
		return 0, nil, err
	}
	canonical, err := types.CanonicalizeEntry(context.Background(), entry)
	if err != nil {
		return 0, nil, err
	}
	logID, err := v.RekorLogID()
	if err != nil {
		return 0, nil, err
	}
	now := time.Now().Unix()
	text := base64.StdEncoding.EncodeToString(canonical)
	promise, err := v.RekorSignPayload(tlog.RekorPayload{Body: text, IntegratedTime: now, LogIndex: 0, LogID: logID})
	if err != nil {
		return 0, nil, err
	}
	proof, err := v.GetInclusionProof(canonical)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusCreated, map[string]any{"1": map[string]any{
		"body": text, "integratedTime": now, "logID": logID, "logIndex": 0,
		"verification": map[string]any{"signedEntryTimestamp": promise, "inclusionProof": proof},
	}}, nil
}

// TrustedRoot is what an auditor is given about it, in sigstore's JSON format.
func (v *Sigstore) TrustedRoot(t *testing.T) []byte {
	t.Helper()
	fulcio := &root.FulcioCertificateAuthority{
		Root: v.anchor, Intermediates: []*x509.Certificate{v.issuer}, ValidityPeriodStart: time.Now().Add(-time.Hour), ValidityPeriodEnd: time.Now().Add(time.Hour), URI: v.URL,
	}
	logs := map[string]*root.TransparencyLog{}
	for id, log := range v.RekorLogs() {
		raw, err := hex.DecodeString(id) // the virtual log has its id in hexadecimal, where bytes belong
		if err != nil {
			t.Fatal(err)
		}
		l := *log
		l.ID, logs[id] = raw, &l
	}
	r, err := root.NewTrustedRoot(root.TrustedRootMediaType01, []root.CertificateAuthority{fulcio}, nil, nil, logs)
	if err != nil {
		t.Fatal(err)
	}
	text, err := r.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// Token is an identity token as far as its receiver looks at it.
func Token() string {
	part := func(v any) string {
		b, _ := json.Marshal(v) // maps of strings
		return base64.RawURLEncoding.EncodeToString(b)
	}
	return part(map[string]string{"alg": "none"}) + "." + part(map[string]any{"iss": Issuer, "sub": "1", "email": Subject, "email_verified": true}) + ".x"
}
