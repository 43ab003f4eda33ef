package strictjson

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/isotrace/isotrace/internal/strictjson/tricky"
)

type document struct {
	Signed map[string]int `json:"signed"`
	Name   string         `json:"name"`
	Count  int64          `json:"count"`
	List   []any          `json:"list"`
}

func TestUnmarshal(t *testing.T) {
	for _, d := range tricky.Documents {
		var have, want document
		err := Unmarshal([]byte(d.Text), &have)
		if d.Refused != "" {
			if err == nil || !strings.Contains(err.Error(), d.Refused) {
				t.Errorf("%s: %v, want %q", d.Name, err, d.Refused)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", d.Name, err)
		}
		if err := json.Unmarshal([]byte(d.Text), &want); err != nil || !reflect.DeepEqual(have, want) {
			t.Errorf("%s: %+v, want %+v, %v", d.Name, have, want, err)
		}
	}
}

// TestUnmarshalOpen: a format of others may say more, and have fractions.
func TestUnmarshalOpen(t *testing.T) {
	for text, refused := range map[string]string{
		`{"name":"x","more":{"Name":1.5}}`:  "",
		`{"name":"x","more":1,"more":2}`:    "stands twice",
		`{"name":"x","more":{"a":1,"a":1}}`: "stands twice",
		`{"Name":"x"}`:                      "in its case alone",
		`{"name":"x","NAME":"y"}`:           "in its case alone",
		`{"name":"x","more":"\ud800"}`:      "invalid surrogate",
		`{"name":"x"} x`:                    "something follows it",
		`{"count":1.5}`:                     "count",
	} {
		var d document
		err := UnmarshalOpen([]byte(text), &d)
		if refused == "" && (err != nil || d.Name != "x") || refused != "" && (err == nil || !strings.Contains(err.Error(), refused)) {
			t.Errorf("%s: %+v, %v, want %q", text, d, err, refused)
		}
	}
}

// FuzzUnmarshal: what is read, encoding/json reads in the same way, and again after it
// was written.
func FuzzUnmarshal(f *testing.F) {
	for _, d := range tricky.Documents[:len(tricky.Documents)-2] {
		f.Add([]byte(d.Text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var have, other, again document
		if Unmarshal(text, &have) != nil {
			return
		}
		if err := json.Unmarshal(text, &other); err != nil || !reflect.DeepEqual(have, other) {
			t.Errorf("%+v, encoding/json has %+v, %v", have, other, err)
		}
		written, err := json.Marshal(have)
		if err != nil {
			t.Fatal(err)
		}
		if err := Unmarshal(written, &again); err != nil || !reflect.DeepEqual(have, again) {
			t.Errorf("%+v, and again %+v, %v", have, again, err)
		}
	})
}
