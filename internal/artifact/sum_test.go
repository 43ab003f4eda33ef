package artifact

import (
	"crypto/md5"
	"os"
	"strings"
	"testing"
)

func TestSum(t *testing.T) {
	s, err := OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	ref, err := s.Add(strings.NewReader("isotrace"), 100)
	if err != nil {
		t.Fatal(err)
	}
	const want = "af2cd24e0f4b65233c6d3cb20b68a787"
	for range 2 { // the second time from what was remembered
		have, err := s.Sum(ref.Digest, "md5", md5.New())
		if err != nil {
			t.Fatal(err)
		}
		if have != want {
			t.Fatalf("%s, want %s", have, want)
		}
	}
	if err := os.WriteFile(s.Result("md5."+string(ref.Digest)), []byte("cut off"), 0o600); err != nil {
		t.Fatal(err)
	}
	if have, err := s.Sum(ref.Digest, "md5", md5.New()); err != nil || have != want {
		t.Errorf("after a damaged note: %s, %v", have, err)
	}
	if _, err := s.Sum(HashBytes(nil), "md5", md5.New()); err == nil {
		t.Error("the sum of what is not there")
	}
}
