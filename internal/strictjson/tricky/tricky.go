// Package tricky has documents that readers of JSON take for different things, and such
// that look like it, for tests.
package tricky

import "strings"

// Document is one of them.
type Document struct {
	Name, Text string
	// Refused is part of what a strict reader says; "" where it reads the document.
	Refused string
}

// Documents are objects with the members signed (an object), name (a text), count (a whole
// number) and list.
var Documents = []Document{
	{"plain", `{"signed":{"a":1},"name":"x","count":3,"list":[true,false,null]}`, ""},
	{"white space", " {\t\"name\" :\r\n\"x\" }\n", ""},
	{"escapes", `{"name":"\u00e9\ud83d\ude00\/\b\f\n\r\t\"\\\u0000"}`, ""},
	{"names that differ in case in a map", `{"signed":{"a":1,"A":2}}`, ""},
	{"largest number", `{"count":9007199254740991}`, ""},
	{"smallest number", `{"count":-9007199254740991}`, ""},
	{"line separators", "{\"name\":\"\u2028\u2029\ufeff\"}", ""},
	{"empty name", `{"signed":{"":1}}`, ""},
	{"hundred levels", `{"list":` + strings.Repeat("[", 99) + strings.Repeat("]", 99) + `}`, ""},

	{"member twice", `{"signed":{"a":1},"signed":{"a":2}}`, `"/signed" stands twice`},
	{"member twice, below", `{"signed":{"a":1,"a":2}}`, `"/signed/a" stands twice`},
	{"member twice, in a list", `{"list":[{"a":1,"a":1}]}`, "stands twice"},
	{"member twice, escaped", `{"name":"x","\u006eame":"y"}`, "stands twice"},
	{"another case", `{"Signed":{"a":1}}`, `unknown field "Signed"`},
	{"another case beside it", `{"signed":{"a":1},"SIGNED":{"a":2}}`, `unknown field "SIGNED"`},
	{"long s", "{\"\u017figned\":{\"a\":1}}", "unknown field"},
	{"unknown member", `{"name":"x","more":1}`, `unknown field "more"`},
	{"not UTF-8", "{\"name\":\"\xff\"}", "invalid UTF-8"},
	{"surrogate as UTF-8", "{\"name\":\"\xed\xa0\x80\"}", "invalid UTF-8"},
	{"overlong", "{\"name\":\"\xc0\xaf\"}", "invalid UTF-8"},
	{"lone surrogate", `{"name":"\ud800"}`, "invalid surrogate"},
	{"lone surrogate in a name", `{"signed":{"\udc00":1}}`, "invalid surrogate"},
	{"surrogates in the wrong order", `{"name":"\udc00\ud800"}`, "invalid surrogate"},
	{"byte order mark", "\ufeff{}", "invalid character"},
	{"control character", "{\"name\":\"\x01\"}", "invalid character"},
	{"something behind", `{}{}`, "something follows it"},
	{"NUL behind", "{}\x00", "something follows it"},
	{"comma behind", `{},`, "something follows it"},
	{"trailing comma", `{"name":"x",}`, "invalid character"},
	{"comment", `{/**/"name":"x"}`, "invalid character"},
	{"single quotes", `{'name':'x'}`, "invalid character"},
	{"no quotes", `{name:1}`, "invalid character"},
	{"NaN", `{"count":NaN}`, "invalid character"},
	{"infinity", `{"count":-Infinity}`, "invalid character"},
	{"leading zero", `{"count":01}`, "invalid character"},
	{"plus", `{"count":+1}`, "invalid character"},
	{"hexadecimal", `{"count":0x1}`, "invalid character"},
	{"minus zero", `{"count":-0}`, "not whole, or too large"},
	{"fraction", `{"count":1.0}`, "not whole, or too large"},
	{"exponent", `{"count":1e2}`, "not whole, or too large"},
	{"too large", `{"count":9007199254740993}`, "not whole, or too large"},
	{"much too large", `{"signed":{"a":1e999}}`, "not whole, or too large"},
	{"text for a number", `{"count":"3"}`, `"/count" cannot be string`},
	{"number for a text", `{"name":3}`, `"/name" cannot be number`},
	{"list for an object", `[]`, "cannot be"},
	{"nothing", ``, "ends too early"},
	{"cut off", `{"name":"x"`, "ends too early"},
	{"deep", `{"list":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`, "more than 100 levels"},
	{"very deep", strings.Repeat(`{"list":[`, 1<<20), "more than 100 levels"},
}
