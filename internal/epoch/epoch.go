// Package epoch is the only source of time for artefacts and records.
package epoch

import (
	"fmt"
	"strconv"
	"time"
)

// Epoch is a count of seconds since 1970-01-01T00:00:00Z, the only time that
// may reach an artefact. See https://reproducible-builds.org/specs/source-date-epoch/.
type Epoch int64

// Time returns the epoch in UTC.
func (e Epoch) Time() time.Time { return time.Unix(int64(e), 0).UTC() }

// String returns the seconds in decimal, as SOURCE_DATE_EPOCH wants them.
func (e Epoch) String() string { return strconv.FormatInt(int64(e), 10) }

// Env returns the SOURCE_DATE_EPOCH setting for a tool's environment.
func (e Epoch) Env() string { return "SOURCE_DATE_EPOCH=" + e.String() }

// Validate refuses times that the formats of an image cannot hold: FAT starts
// in 1980, squashfs ends in 2106.
func (e Epoch) Validate() error {
	const fatStart, squashfsEnd = 315532800, 1<<32 - 1
	if e < fatStart || e > squashfsEnd {
		return fmt.Errorf("epoch %d: must lie between 1980-01-01 and 2106-02-07", e)
	}
	return nil
}
