//go:build keyservices

package keyref

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// transit speaks as much of Vault's transit engine as signing needs.
func transit(t *testing.T, key *ecdsa.PrivateKey) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	public := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	answer := func(w http.ResponseWriter, r *http.Request, data map[string]any) {
		if r.Header.Get("X-Vault-Token") != "a-token" {
			http.Error(w, `{"errors":["permission denied"]}`, http.StatusForbidden)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"data": data})
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/transit/keys/release", func(w http.ResponseWriter, r *http.Request) {
		answer(w, r, map[string]any{"latest_version": 1, "keys": map[string]any{"1": map[string]any{"name": "P-256", "public_key": public}}})
	})
	mux.HandleFunc("PUT /v1/transit/sign/release/sha2-256", func(w http.ResponseWriter, r *http.Request) {
		var request struct {
			Input     []byte `json:"input"`
			Prehashed bool   `json:"prehashed"`
		}
		if err := json.NewDecoder(r.Body).Decode(&request); err != nil || !request.Prehashed {
			http.Error(w, `{"errors":["want a digest"]}`, http.StatusBadRequest)
			return
		}
		sig, err := key.Sign(rand.Reader, request.Input, crypto.SHA256)
		if err != nil {
			http.Error(w, `{"errors":["cannot sign"]}`, http.StatusBadRequest)
			return
		}
		answer(w, r, map[string]any{"signature": "vault:v1:" + base64.StdEncoding.EncodeToString(sig)})
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}

// TestKeyService signs with a key that stays in a key management service.
func TestKeyService(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("VAULT_ADDR", transit(t, key))
	t.Setenv("VAULT_TOKEN", "a-token")
	s, err := Open(t.Context(), "hashivault://release", password(""))
	if err != nil {
		t.Fatal(err)
	}
	signs(t, s)
	t.Setenv("VAULT_TOKEN", "another")
	if _, err := Open(t.Context(), "hashivault://release", password("")); err == nil || strings.Contains(err.Error(), "another") {
		t.Errorf("without the right token: %v", err)
	}
}
