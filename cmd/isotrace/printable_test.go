package main

import "testing"

func TestPrintable(t *testing.T) {
	for text, want := range map[string]string{
		"├─ /usr/bin/ls\tfile\n":    "├─ /usr/bin/ls\tfile\n",
		"a\x1b]0;title\x07b":        `a\x1b]0;title\x07b`,
		"caf\xe9":                   `caf\xe9`,
		"safe\u202etxt.exe":         `safe\u202etxt.exe`,
		"\r/etc/shadow  is fine":    `\x0d/etc/shadow  is fine`,
		"c1 \u009b31m":              `c1 \u009b31m`,
		"a real \ufffd stays":       "a real \ufffd stays",
		"mixed \ufffd and \xff end": "mixed \ufffd and " + `\xff end`,
	} {
		if have := printable(text); have != want {
			t.Errorf("%q: %q, want %q", text, have, want)
		}
	}
}
