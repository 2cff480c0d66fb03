package configdrive

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/shakenfist/cloud/configdrive/internal/isofs"
)

// Drive is what is on a config drive: ours, or another cloud's.
type Drive struct {
	Label string            // Label, for a config drive
	Files map[string][]byte // by path: Latest + "/meta_data.json"
}

// Bounds on what Read takes: the drive has been in a guest's hands.
const (
	maxFiles = 1000
	maxBytes = 64 << 20
)

// Read returns what is on the drive that is the first size bytes of r. It takes
// ISO 9660 with Rock Ridge, Joliet or neither, and needs no trust in who wrote
// it; at most 1000 files and 64 MiB are read. Errors wrap ErrFormat, or are r's own.
func Read(r io.ReaderAt, size int64) (*Drive, error) {
	v, err := isofs.Read(r, size, isofs.Limits{Files: maxFiles, Bytes: maxBytes})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	d := &Drive{Label: v.Label, Files: make(map[string][]byte)}
	for _, f := range v.Files {
		d.Files[f.Path] = f.Data
	}
	return d, nil
}

// MetaData returns the latest meta_data.json. Errors wrap ErrFormat.
func (d *Drive) MetaData() (MetaData, error) {
	return decode[MetaData](d, "meta_data.json")
}

// NetworkData returns the latest network_data.json. Errors wrap ErrFormat.
func (d *Drive) NetworkData() (NetworkData, error) {
	return decode[NetworkData](d, "network_data.json")
}

// UserData returns the latest user_data; ok says whether there is any.
func (d *Drive) UserData() (data []byte, ok bool) {
	data, ok = d.Files[Latest+"/user_data"]
	return data, ok
}

func decode[T any](d *Drive, name string) (T, error) {
	var v T
	data, ok := d.Files[Latest+"/"+name]
	if !ok {
		return v, fmt.Errorf("%w: no %s in %s", ErrFormat, name, Latest)
	}
	if err := json.Unmarshal(data, &v); err != nil {
		return v, fmt.Errorf("%w: %s: %w", ErrFormat, name, err)
	}
	return v, nil
}
