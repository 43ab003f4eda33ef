package diff

import "testing"

func TestEscape(t *testing.T) {
	for text, want := range map[string]string{
		"plain 1.0-1": "plain 1.0-1", "a|b\nc": `a\|b c`, "<script>": "&lt;script&gt;", "[x](y)": `\[x\]\(y\)`, "`*_`": "\\`\\*\\_\\`",
		"&amp;": "&amp;amp;", "https://example.org": "https&#58;//example.org", "a@b": `a\@b`, "# no heading": `\# no heading`,
	} {
		if have := escape(text); have != want {
			t.Errorf("%q: have %q, want %q", text, have, want)
		}
	}
}

func TestKeys(t *testing.T) {
	from := []byte("name: a\npackages: [x, y]\noverlay:\n  - {from: f, to: /}\n  - {from: g, to: /}\n")
	to := []byte("name: b\npackages: [w, x, {name: y, requirements: [R-1]}]\noverlay:\n  - {from: f, to: /}\n  - {from: h, to: /}\n")
	c, err := compareConfigs(from, to)
	if err != nil {
		t.Fatal(err)
	}
	want := []KeyChange{{"name", "a", "b"}, {"overlay[/ (2)].from", "g", "h"}, {"packages[w]", "", "w"}, {"packages[y].name", "", "y"}, {"packages[y].requirements[R-1]", "", "R-1"}}
	if len(c.Keys) != len(want) || c.Lines == "" {
		t.Fatalf("%+v\n%s", c.Keys, c.Lines)
	}
	for i := range want {
		if c.Keys[i] != want[i] {
			t.Errorf("have %+v, want %+v", c.Keys[i], want[i])
		}
	}
	if c, err := compareConfigs(from, from); err != nil || len(c.Keys) > 0 || c.Lines != "" {
		t.Errorf("the same: %+v, %v", c, err)
	}
}
