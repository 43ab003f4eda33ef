//go:build keyservices && pkcs11key && cgo

package keyref

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/isotrace/isotrace/internal/fault"
)

// TestPKCS11 signs with a key in a token of SoftHSM, as Debian packages it.
func TestPKCS11(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "softhsm2.conf")
	if err := os.WriteFile(config, []byte("directories.tokendir = "+dir+"\nobjectstore.backend = file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SOFTHSM2_CONF", config)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	plain := filepath.Join(dir, "plain.pem")
	if err := os.WriteFile(plain, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"--init-token", "--free", "--label", "isotrace", "--pin", "123456", "--so-pin", "654321"},
		{"--import", plain, "--token", "isotrace", "--label", "release", "--id", "a1", "--pin", "123456"},
	} {
		if out, err := exec.Command("softhsm2-util", args...).CombinedOutput(); err != nil {
			t.Fatalf("softhsm2-util %v: %v\n%s", args, err, out)
		}
	}
	const ref = "pkcs11:token=isotrace;object=release;id=%a1?module-path=/usr/lib/softhsm/libsofthsm2.so"
	t.Setenv("COSIGN_PKCS11_PIN", "123456")
	s, err := Open(t.Context(), ref, password(""))
	if err != nil {
		t.Fatal(err)
	}
	want, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	if block, _ := pem.Decode(s.Public().PEM); string(block.Bytes) != string(want) {
		t.Error("the token has another key")
	}
	signs(t, s)
	_, err = Open(t.Context(), strings.Replace(ref, "id=%a1", "id=%b2", 1)+"&pin-value=123456", password(""))
	if err == nil || strings.Contains(err.Error()+fault.HintOf(err), "123456") {
		t.Errorf("a key that is not there: %v", err)
	}
}
