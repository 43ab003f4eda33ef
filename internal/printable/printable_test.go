package printable

import "testing"

func TestText(t *testing.T) {
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
		if have := Text(text); have != want {
			t.Errorf("%q: %q, want %q", text, have, want)
		}
	}
}

func TestLine(t *testing.T) {
	if have, want := Line("two\nlines\tand \u200f"), `two\x0alines\x09and \u200f`; have != want {
		t.Errorf("%q, want %q", have, want)
	}
}
