package archive

import (
	"crypto"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/isotrace/isotrace/internal/archive/archivetest"
	"github.com/isotrace/isotrace/internal/fault"
)

const year = 365 * 24 * time.Hour

// releaseOfDate is a Release file of the time at which the tests sign.
var releaseOfDate = strings.Replace(releaseText, "Date: Sat, 10 Feb 2024 11:07:25", "Date: "+date.Format("Mon, 02 Jan 2006 15:04:05"), 1)

// TestWhoMaySign: a Release file of date is judged by the key that signed it, whatever the
// signature says of its own time.
func TestWhoMaySign(t *testing.T) {
	born := date.Add(-2 * year)
	plain := func(o archivetest.KeyOptions) func(*testing.T) (keys, by *archivetest.Key) {
		return func(t *testing.T) (*archivetest.Key, *archivetest.Key) {
			k := archivetest.NewKeyOf(t, born, o)
			return k, k
		}
	}
	sub := func(o archivetest.Subkey) func(*testing.T) (keys, by *archivetest.Key) {
		return func(t *testing.T) (*archivetest.Key, *archivetest.Key) {
			k := archivetest.NewKeyOf(t, born, archivetest.KeyOptions{})
			return k, k.AddSubkey(born.Add(year/2), o)
		}
	}
	revoked := func(reason packet.ReasonForRevocation, at time.Time, subkey bool) func(*testing.T) (keys, by *archivetest.Key) {
		return func(t *testing.T) (*archivetest.Key, *archivetest.Key) {
			k := archivetest.NewKeyOf(t, born, archivetest.KeyOptions{})
			by := k
			if subkey {
				by = k.AddSubkey(born, archivetest.Subkey{})
				k.RevokeSubkey(reason, at)
			} else {
				k.RevokeAs(reason, at)
			}
			return k, by
		}
	}
	day := 24 * time.Hour
	for name, c := range map[string]struct {
		keys func(*testing.T) (keys, by *archivetest.Key)
		at   time.Time   // of the signature; date where zero
		hash crypto.Hash // of the signature; SHA-512 where 0
		want string      // part of the reason; "" where the signature counts
	}{
		"good":                    {keys: plain(archivetest.KeyOptions{})},
		"an hour later":           {keys: plain(archivetest.KeyOptions{}), at: date.Add(time.Hour)},
		"a clock a little behind": {keys: plain(archivetest.KeyOptions{}), at: date.Add(-time.Hour)},
		"by hand, a day later":    {keys: plain(archivetest.KeyOptions{}), at: date.Add(day + time.Hour)},
		"backdated":               {keys: plain(archivetest.KeyOptions{}), at: date.Add(-day - time.Minute), want: "does not fit the Date"},
		"weeks later":             {keys: plain(archivetest.KeyOptions{}), at: date.Add(14 * day), want: "does not fit the Date"},
		"expired and backdated":   {keys: plain(archivetest.KeyOptions{Lifetime: year}), at: born.Add(day), want: "does not fit the Date"},
		"expired the day before":  {keys: plain(archivetest.KeyOptions{Lifetime: 2*year - 6*time.Hour}), at: date.Add(-12 * time.Hour), want: "the key had expired"},
		"expires the day after":   {keys: plain(archivetest.KeyOptions{Lifetime: 2*year + day})},
		"made the day after": {keys: func(t *testing.T) (_, _ *archivetest.Key) {
			k := archivetest.NewKeyOf(t, date.Add(time.Hour), archivetest.KeyOptions{})
			return k, k
		}, at: date.Add(2 * time.Hour), want: "valid"},
		"RSA of 1024 bits":           {keys: plain(archivetest.KeyOptions{Weak: true}), want: "minimum rsa length"},
		"DSA":                        {keys: plain(archivetest.KeyOptions{DSA: true}), want: "public key algorithm", hash: crypto.SHA256},
		"a name bound by SHA-1":      {keys: plain(archivetest.KeyOptions{SelfHash: crypto.SHA1}), want: "no valid self signature"},
		"SHA-1":                      {keys: plain(archivetest.KeyOptions{}), hash: crypto.SHA1, want: "insecure"},
		"compromised, found later":   {keys: revoked(packet.KeyCompromised, date.Add(10*day), false), want: "the key was revoked"},
		"revoked for no reason":      {keys: revoked(packet.NoReason, date.Add(10*day), false), want: "the key was revoked"},
		"retired before":             {keys: revoked(packet.KeyRetired, date.Add(-10*day), false), want: "the key was revoked"},
		"superseded before":          {keys: revoked(packet.KeySuperseded, date.Add(-time.Hour), false), at: date.Add(-2 * time.Hour), want: "the key was revoked"},
		"retired afterwards":         {keys: revoked(packet.KeyRetired, date.Add(10*day), false)},
		"subkey":                     {keys: sub(archivetest.Subkey{})},
		"subkey had expired":         {keys: sub(archivetest.Subkey{Lifetime: year}), want: "valid signing"},
		"subkey expired that day":    {keys: sub(archivetest.Subkey{Lifetime: 3*year/2 - time.Hour}), at: date.Add(-2 * time.Hour), want: "the key had expired"},
		"subkey without its consent": {keys: sub(archivetest.Subkey{Uncrossed: true}), want: "valid signing"},
		"subkey bound by SHA-1":      {keys: sub(archivetest.Subkey{BindHash: crypto.SHA1}), want: "valid signing"},
		"subkey's consent by SHA-1":  {keys: sub(archivetest.Subkey{CrossHash: crypto.SHA1}), want: "insecure"},
		"subkey of another's": {keys: func(t *testing.T) (_, _ *archivetest.Key) {
			k := archivetest.NewKeyOf(t, born, archivetest.KeyOptions{})
			return k, k.AddSubkey(born, archivetest.Subkey{Foreign: archivetest.NewKeyOf(t, born, archivetest.KeyOptions{})})
		}, want: "valid signing"},
		"subkey compromised":        {keys: revoked(packet.KeyCompromised, date.Add(10*day), true), want: "valid signing"},
		"subkey retired before":     {keys: revoked(packet.KeyRetired, date.Add(-10*day), true), want: "valid signing"},
		"subkey retired afterwards": {keys: revoked(packet.KeyRetired, date.Add(10*day), true)},
		"prolonged": {keys: func(t *testing.T) (_, _ *archivetest.Key) {
			k := archivetest.NewKeyOf(t, born, archivetest.KeyOptions{Lifetime: year})
			k.Certify(born.Add(year/2), 0, crypto.SHA512)
			return k, k
		}},
		"prolonged too late": {keys: func(t *testing.T) (_, _ *archivetest.Key) {
			k := archivetest.NewKeyOf(t, born, archivetest.KeyOptions{Lifetime: year})
			k.Certify(date.Add(year), 0, crypto.SHA512)
			return k, k
		}, want: "the key had expired"},
	} {
		t.Run(name, func(t *testing.T) {
			keys, by := c.keys(t)
			if c.at.IsZero() {
				c.at = date
			}
			if c.hash == 0 {
				c.hash = crypto.SHA512
			}
			text := []byte(releaseOfDate)
			signed := SignedRelease{Data: text, Signature: archivetest.SignBlindly(t, text, c.at, c.hash, by)}
			// The signature is judged in the same way when it is fresh and years later.
			for _, clock := range []time.Time{date.Add(15 * day), date.Add(9 * year)} {
				_, signers, _, err := signed.Verify(keyring(t, keys), "Release", ReleaseCheck{Suite: "bookworm", Now: clock, IgnoreValidUntil: true})
				if c.want == "" && (err != nil || len(signers) != 1 || signers[0].Key != strings.ToUpper(fmt.Sprintf("%x", by.Fingerprint()))) {
					t.Errorf("by %v: %v", signers, err)
				}
				if c.want != "" && (!errors.Is(err, ErrSignature) || fault.ClassOf(err) != fault.Refused || !strings.Contains(err.Error(), c.want)) {
					t.Errorf("by %v: error %v, want %q", signers, err, c.want)
				}
			}
		})
	}
}

// TestKeyTwice: a keyring may have a key as it was and as it is.
func TestKeyTwice(t *testing.T) {
	born := date.Add(-2 * year)
	text := []byte(releaseOfDate)
	check := ReleaseCheck{Suite: "bookworm", Now: date.Add(time.Hour), IgnoreValidUntil: true}
	verify := func(k *archivetest.Key, copies ...[]byte) error {
		ring, err := ReadKeyring("two copies", slices.Concat(copies...))
		if err != nil {
			t.Fatal(err)
		}
		_, _, _, err = SignedRelease{Data: text, Signature: archivetest.SignBlindly(t, text, date, crypto.SHA512, k)}.Verify(ring, "Release", check)
		return err
	}
	k := archivetest.NewKeyOf(t, born, archivetest.KeyOptions{Lifetime: year})
	old := k.Binary()
	k.Certify(born.Add(year/2), 0, crypto.SHA512)
	long := k.Binary()
	k.Revoke(date.Add(time.Hour))
	revoked := k.Binary()
	if err := verify(k, old); err == nil {
		t.Error("the key as it was had expired")
	}
	if err := verify(k, old, long); err != nil {
		t.Error(err)
	}
	for _, copies := range [][][]byte{{long, revoked}, {revoked, long}, {long, old, revoked}} {
		if err := verify(k, copies...); err == nil || !strings.Contains(err.Error(), "the key was revoked") {
			t.Errorf("a revoked key with a copy that is not: %v", err)
		}
	}
}
