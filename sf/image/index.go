package image

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// origin is what a URL gave when it was last fetched.
type origin struct {
	URL          string            `json:"url"` // without secrets, for people
	ID           string            `json:"id"`
	Size         int64             `json:"size"`
	ETag         string            `json:"etag,omitempty"`
	LastModified string            `json:"last_modified,omitempty"`
	Sums         map[string]string `json:"sums"`           // of the bytes transferred, by algorithm
	Trusted      bool              `json:"trusted"`        // fetched for an administrator
	Gone         bool              `json:"gone,omitempty"` // a snapshot that was removed
	Made         bool              `json:"made,omitempty"` // the file was converted or padded: its hash is not the ID
}

// provides reports whether the cached image is what d describes.
func (o origin) provides(d Description) bool {
	if d.Checksum.Hex != "" {
		// A hash tells more than any validator, and mirrors agree on it.
		return o.Sums[d.Checksum.Algorithm] == d.Checksum.Hex
	}
	if d.Size >= 0 && d.Size != o.Size {
		return false
	}
	if d.ETag != "" && o.ETag != "" {
		return d.ETag == o.ETag
	}
	// Without any validator nothing vouches for the cached bytes.
	return d.LastModified != "" && d.LastModified == o.LastModified
}

// resolved is what a reference led to when it was last resolved.
type resolved struct {
	Name     string   `json:"name"` // without secrets, for people
	URLKey   string   `json:"url_key"`
	Checksum Checksum `json:"checksum"`
}

// key is the file name for a URL or a reference, which may hold secrets.
func key(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// load reads a record of the index; false when there is none that can be read,
// which only costs a download.
func (c *Cache) load(kind, key string, into any) bool {
	b, err := os.ReadFile(c.indexPath(kind, key))
	if err == nil {
		err = json.Unmarshal(b, into)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.config.Log.Warn("image cache: record ignored", "kind", kind, "key", key, "err", err)
	}
	return err == nil
}

// save writes a record of the index.
func (c *Cache) save(kind, key string, from any) error {
	b, err := json.MarshalIndent(from, "", "  ")
	if err != nil {
		return err
	}
	return replaceFile(c.indexPath(kind, key), append(b, '\n'))
}

func (c *Cache) indexPath(kind, key string) string {
	return filepath.Join(c.dir, kind, key+".json")
}
