// Package isofs writes and reads small ISO 9660 file systems in memory.
//
// What Build writes has three namings of the same files: the plain one (upper
// case, 8.3), Rock Ridge on top of it (exact names, modes, times) and a Joliet
// tree (exact names in UCS-2). Linux takes the second, Windows the third. The
// same files, label and time give the same bytes.
//
// Names that one of the three could not carry unchanged are refused rather than
// altered, so that a file has the same name whoever looks.
package isofs

import (
	"errors"
	"fmt"
	"time"
)

// SectorSize is the size in bytes of a logical block; an image is a whole number of them.
const SectorSize = 2048

// Errors of this package; compare with errors.Is.
var (
	// ErrInvalid: what was to be written has no place in an ISO 9660 file system.
	ErrInvalid = errors.New("isofs: invalid")
	// ErrFormat: what was read is not an ISO 9660 file system, or is a damaged one.
	ErrFormat = errors.New("isofs: not a valid ISO 9660 image")
	// ErrTooLarge: what was read goes beyond the Limits.
	ErrTooLarge = errors.New("isofs: image holds more than allowed")
)

// File is a regular file.
type File struct {
	// Path is slash-separated and relative to the root, in the form of
	// fs.ValidPath. Directories are made as needed.
	Path string
	// Data is the contents. Files with the very same slice share their blocks.
	Data []byte
}

// Options are the properties of the volume.
type Options struct {
	// Label is the volume identifier: 1 to 16 printable ASCII characters.
	Label string
	// Time stamps the volume and every file, in whole seconds UTC. The zero Time
	// means the Unix epoch. The format knows the years 1900 to 2155.
	Time time.Time
}

// Build returns the image that holds files, in any order. Errors wrap ErrInvalid.
func Build(opts Options, files []File) ([]byte, error) {
	stamp, err := newStamp(opts.Time)
	if err != nil {
		return nil, err
	}
	if err := checkLabel(opts.Label); err != nil {
		return nil, err
	}
	root, extents, err := newTree(files)
	if err != nil {
		return nil, err
	}
	img := image{
		label:   opts.Label,
		stamp:   stamp,
		extents: extents,
		trees:   [2]*tree{rockRidgeTree(root, stamp), jolietTree(root)},
	}
	if err := img.layout(); err != nil {
		return nil, err
	}
	return img.encode(), nil
}

func checkLabel(label string) error {
	if len(label) < 1 || len(label) > 16 {
		return fmt.Errorf("%w: label %q has %d bytes, want 1 to 16", ErrInvalid, label, len(label))
	}
	for _, c := range []byte(label) {
		if c <= ' ' || c > '~' {
			return fmt.Errorf("%w: label %q: character %q is not printable ASCII", ErrInvalid, label, c)
		}
	}
	return nil
}
