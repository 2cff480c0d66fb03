package image

import (
	"context"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/shakenfist/cloud/driver"
)

// partial is a download under way: a file, and beside it a note of how many of
// its bytes are safely on disk and which version of the origin they belong to.
type partial struct {
	path  string
	note  partialNote
	known int64 // bytes covered by the note on disk
	file  *os.File
	size  int64 // bytes so far
	hash  map[string]hash.Hash
	open  opener // where its bytes come from
	holes bool   // they are the image itself: where there is nothing but zeros, nothing is written
}

// opener opens what a description describes, like Source.Open.
type opener func(ctx context.Context, d Description, offset int64) (io.ReadCloser, error)

// partialNote is the note. A resumed download must match all of it but Synced.
type partialNote struct {
	URL          string `json:"url"` // without secrets, for people
	Size         int64  `json:"size"`
	ETag         string `json:"etag,omitempty"`
	LastModified string `json:"last_modified,omitempty"`
	Checksum     string `json:"checksum,omitempty"`
	Synced       int64  `json:"synced"`
}

func noteOf(d Description) partialNote {
	if d.Checksum.Hex != "" { // which says more, and is the same on every mirror
		d.ETag, d.LastModified = "", ""
	}
	return partialNote{URL: Redact(d.URL), Size: d.Size, ETag: d.ETag, LastModified: d.LastModified, Checksum: d.Checksum.Hex}
}

// resumable: something tells whether the origin still has the same bytes.
func (n partialNote) resumable() bool {
	return n.ETag != "" || n.LastModified != "" || n.Checksum != ""
}

// checkpoint is how many bytes a crash may cost.
const checkpoint = 32 << 20

// openPartial opens the partial file of d: with the bytes that an earlier try
// got of the same version, which are read again until ctx ends, else empty.
func (c *Cache) openPartial(ctx context.Context, d Description, report func(driver.Progress)) (*partial, error) {
	p := &partial{path: filepath.Join(c.dir, partialDir, key(d.URL+"#"+d.Checksum.Hex)), note: noteOf(d), open: c.config.Source.Open}
	f, err := os.OpenFile(p.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	p.file = f
	p.resetHash(d.Checksum.Algorithm)
	var old partialNote
	if c.load(partialDir, filepath.Base(p.path), &old) {
		if err := p.resume(ctx, old, report); err != nil {
			p.close()
			return nil, err
		}
	}
	if err := p.truncate(); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// resume takes over the bytes that the old note vouches for.
func (p *partial) resume(ctx context.Context, old partialNote, report func(driver.Progress)) error {
	synced := old.Synced
	old.Synced = 0
	st, err := p.file.Stat()
	if err != nil || old != p.note || !p.note.resumable() || st.Size() < synced {
		return err
	}
	there := &source{ctx: ctx, r: io.NewSectionReader(p.file, 0, synced), report: func(done int64) {
		report(driver.Progress{Stage: "verifying", Done: done, Total: synced})
	}}
	p.size, err = io.CopyBuffer(onlyWriter{p.hashes()}, there, make([]byte, 256<<10))
	p.known = p.size
	return err
}

// truncate cuts off what lies behind the bytes that count.
func (p *partial) truncate() error {
	if err := p.file.Truncate(p.size); err != nil {
		return err
	}
	_, err := p.file.Seek(p.size, io.SeekStart)
	return err
}

// restart forgets all bytes; first of all what the note says of them.
func (p *partial) restart() error {
	if err := os.Remove(p.path + ".json"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, h := range p.hash {
		h.Reset()
	}
	p.size, p.known = 0, 0
	return p.truncate()
}

// Write appends bytes and now and then makes them safe.
func (p *partial) Write(b []byte) (int, error) {
	n, err := p.put(b)
	p.hashes().Write(b[:n])
	p.size += int64(n)
	if err == nil && p.size-p.known >= checkpoint {
		err = p.checkpoint()
	}
	return n, err
}

// put writes bytes to the file, or makes a hole of them.
func (p *partial) put(b []byte) (int, error) {
	if !p.holes || !zero(b) {
		return p.file.Write(b)
	}
	end := p.size + int64(len(b))
	if err := p.file.Truncate(end); err != nil {
		return 0, err
	}
	_, err := p.file.Seek(end, io.SeekStart)
	return len(b), err
}

// checkpoint makes the bytes so far safe, and then says so in the note.
func (p *partial) checkpoint() error {
	if p.size == p.known || !p.note.resumable() {
		return nil
	}
	if err := p.file.Sync(); err != nil {
		return err
	}
	note := p.note
	note.Synced = p.size
	b, err := json.Marshal(note)
	if err != nil {
		return err
	}
	if err := replaceFile(p.path+".json", b); err != nil {
		return err
	}
	p.known = p.size
	return nil
}

// close keeps what there is for the next try.
func (p *partial) close() {
	if p.file != nil {
		p.file.Close()
		p.file = nil
	}
}

// discard removes the partial file.
func (p *partial) discard() {
	p.close()
	os.Remove(p.path + ".json")
	os.Remove(p.path)
}

// discardAfter removes the partial file after an error that another try with the
// same bytes would meet again, and when the disk is full: machines need the room
// more.
func (p *partial) discardAfter(err error) {
	if errors.Is(err, ErrPermanent) || errors.Is(err, driver.ErrNoSpace) {
		p.discard()
	}
}

func (p *partial) resetHash(algorithm string) {
	p.hash = map[string]hash.Hash{"sha256": sha256.New()}
	switch algorithm {
	case "md5":
		p.hash["md5"] = md5.New()
	case "sha1":
		p.hash["sha1"] = sha1.New()
	case "sha512":
		p.hash["sha512"] = sha512.New()
	}
}

// hashes writes to all hashes.
func (p *partial) hashes() io.Writer {
	all := make([]io.Writer, 0, 2)
	for _, h := range p.hash {
		all = append(all, h)
	}
	return io.MultiWriter(all...)
}

// sums returns the hashes of the bytes so far.
func (p *partial) sums() map[string]string {
	out := make(map[string]string)
	for name, h := range p.hash {
		out[name] = hex.EncodeToString(h.Sum(nil))
	}
	return out
}

// verify compares with the published checksum, if there is one.
func (p *partial) verify(d Description) error {
	want := d.Checksum
	if got := p.sums()[want.Algorithm]; want.Hex != "" && got != want.Hex {
		return fmt.Errorf("%w: %s is %s, but %s says %s", ErrChecksum, want.Algorithm, got, want.From, want.Hex)
	}
	return nil
}
