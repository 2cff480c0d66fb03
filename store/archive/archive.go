// Package archive keeps a whole store in one file: what a cloud's backup is, and how it
// moves from one kind of store to another.
//
// An archive is lines of JSON: a Header, one record a line in the order of
// keys, and an end with their number and checksum, without which it is
// incomplete. It shows one revision, however much is written meanwhile. What is
// bound to a session is left out, since it ends with its owner; revisions are not carried,
// since those of another store are its own.
package archive

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"github.com/shakenfist/cloud/store"
)

// Version of the format that this package writes, and the newest that it reads.
const Version = 1

// format is how an archive says what it is.
const format = "shakenfist-archive"

// ErrDamaged: this is no archive, or not a whole one.
var ErrDamaged = errors.New("archive: damaged")

// Header says what an archive has.
type Header struct {
	Format   string         `json:"format"`  // filled in by Write
	Version  int            `json:"version"` // filled in by Write
	Cloud    string         `json:"cloud"`   // whose records these are
	Made     time.Time      `json:"made"`
	Revision store.Revision `json:"revision"` // that it shows, of the store it was made of; filled in by Write
}

// line is any line but the first.
type line struct {
	Key   string `json:"key,omitempty"`
	Value []byte `json:"value,omitempty"`
	End   *end   `json:"end,omitempty"`
	Error string `json:"error,omitempty"` // why there is no end
}

type end struct {
	Records int    `json:"records"`
	SHA256  string `json:"sha256"` // of all lines before
}

// pageSize is how many records are in memory at a time.
const pageSize = 500

// Write writes an archive of s to w and returns how many records it has. When
// reading s fails, the archive ends with the reason, so that its reader knows.
func Write(ctx context.Context, w io.Writer, s store.Store, h Header) (records int, err error) {
	buffered := bufio.NewWriterSize(w, 64<<10)
	sum := sha256.New()
	out := json.NewEncoder(io.MultiWriter(buffered, sum))
	records, err = writeRecords(ctx, out, s, h)
	if err != nil {
		err = fmt.Errorf("archive: after %d records: %w", records, err)
		// When w is at fault, nobody hears this.
		_ = errors.Join(out.Encode(line{Error: err.Error()}), buffered.Flush())
		return records, err
	}
	err = out.Encode(line{End: &end{Records: records, SHA256: hex.EncodeToString(sum.Sum(nil))}})
	if err == nil {
		err = buffered.Flush()
	}
	if err != nil {
		return records, fmt.Errorf("archive: %w", err)
	}
	return records, nil
}

func writeRecords(ctx context.Context, out *json.Encoder, s store.Store, h Header) (n int, err error) {
	l, err := s.List(ctx, "", store.Page{Limit: pageSize})
	if err != nil {
		return 0, err
	}
	h.Format, h.Version, h.Revision = format, Version, l.Revision
	if err := out.Encode(h); err != nil {
		return 0, err
	}
	for {
		for _, r := range l.Records {
			if r.Session != 0 || r.Key == restoring {
				continue
			}
			if err := out.Encode(line{Key: r.Key, Value: r.Value}); err != nil {
				return n, err
			}
			n++
		}
		if !l.More {
			return n, nil
		}
		last := l.Records[len(l.Records)-1].Key
		if l, err = s.List(ctx, "", store.Page{After: last, Limit: pageSize, At: h.Revision}); err != nil {
			return n, err
		}
	}
}

// maxLine is longer than any record's line.
const maxLine = 2 * store.MaxBytes

// reader reads an archive's lines and holds them against its end.
type reader struct {
	in   *bufio.Reader
	sum  hash.Hash
	n    int // records read
	last string
	pos  int // lines read
}

func newReader(r io.Reader) (*reader, Header, error) {
	a := &reader{in: bufio.NewReaderSize(r, 64<<10), sum: sha256.New()}
	text, err := a.line()
	if err != nil {
		return nil, Header{}, err
	}
	var h Header
	switch err := json.Unmarshal(text, &h); {
	case err != nil || h.Format != format:
		return nil, h, fmt.Errorf("%w: this is no archive of a cloud", ErrDamaged)
	case h.Version > Version:
		return nil, h, fmt.Errorf("archive: it is of version %d, this program reads up to %d: use a newer one", h.Version, Version)
	}
	a.sum.Write(text)
	return a, h, nil
}

// line returns the next line, with its end.
func (a *reader) line() ([]byte, error) {
	var text []byte
	for {
		part, err := a.in.ReadSlice('\n')
		text = append(text, part...)
		switch {
		case err == nil:
			a.pos++
			return text, nil
		case len(text) > maxLine:
			return nil, fmt.Errorf("%w: line %d is too long", ErrDamaged, a.pos+1)
		case errors.Is(err, io.EOF):
			return nil, fmt.Errorf("%w: it breaks off in line %d", ErrDamaged, a.pos+1)
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, fmt.Errorf("archive: read: %w", err)
		}
	}
}

// next returns the next record, or io.EOF at a right end.
func (a *reader) next() (l line, err error) {
	text, err := a.line()
	if err != nil {
		return l, err
	}
	in := json.NewDecoder(bytes.NewReader(text))
	in.DisallowUnknownFields()
	if err := in.Decode(&l); err != nil {
		return l, fmt.Errorf("%w: line %d: %w", ErrDamaged, a.pos, err)
	}
	switch {
	case l.Error != "":
		return l, fmt.Errorf("%w: it was not finished: %s", ErrDamaged, l.Error)
	case l.End != nil:
		return l, a.finish(*l.End)
	case l.Key <= a.last:
		return l, fmt.Errorf("%w: line %d: key %q is out of order", ErrDamaged, a.pos, l.Key)
	}
	a.sum.Write(text)
	a.last = l.Key
	a.n++
	return l, nil
}

func (a *reader) finish(e end) error {
	if e.Records != a.n {
		return fmt.Errorf("%w: it has %d records instead of %d", ErrDamaged, a.n, e.Records)
	}
	if e.SHA256 != hex.EncodeToString(a.sum.Sum(nil)) {
		return fmt.Errorf("%w: the checksum is wrong: something in it was changed", ErrDamaged)
	}
	if _, err := a.in.ReadByte(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: something follows its end", ErrDamaged)
	}
	return io.EOF
}

// Verify reads an archive to its end and returns its header and the number of its
// records: ErrDamaged when it is not whole.
func Verify(r io.Reader) (h Header, records int, err error) {
	a, h, err := newReader(r)
	if err != nil {
		return h, 0, err
	}
	for {
		if _, err := a.next(); errors.Is(err, io.EOF) {
			return h, a.n, nil
		} else if err != nil {
			return h, a.n, err
		}
	}
}
