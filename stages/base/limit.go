package base

import (
	"os"

	"github.com/isotrace/isotrace/internal/archive/decompress"
)

// layerLimit is how many bytes a layer may hold, by the size of its file.
func layerLimit(f *os.File) int64 {
	st, err := f.Stat()
	if err != nil {
		return 0
	}
	return decompress.LayerLimit(st.Size(), maxLayer)
}
