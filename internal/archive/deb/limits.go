package deb

// Limits bounds what a .deb may hold. A zero field is the default.
type Limits struct {
	Uncompressed int64 // bytes of data.tar; 16 GiB
	Ratio        int64 // uncompressed for compressed bytes of data.tar, past the first 64 MiB; 1000
	Members      int   // entries of data.tar; 1,000,000
	Control      int64 // bytes of control.tar; 32 MiB
}

func (l Limits) withDefaults() Limits {
	if l.Uncompressed == 0 {
		l.Uncompressed = 16 << 30
	}
	if l.Ratio == 0 {
		l.Ratio = 1000
	}
	if l.Members == 0 {
		l.Members = 1_000_000
	}
	if l.Control == 0 {
		l.Control = 32 << 20
	}
	return l
}

// freeOfRatio is what a small package may hold however well it compresses:
// a file of zeros is no bomb yet.
const freeOfRatio = 64 << 20

// data returns the bytes that data.tar may have, of that compressed size.
func (l Limits) data(compressed int64) int64 {
	if byRatio := freeOfRatio + compressed*l.Ratio; compressed < l.Uncompressed/l.Ratio && byRatio < l.Uncompressed {
		return byRatio
	}
	return l.Uncompressed
}
