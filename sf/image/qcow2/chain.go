package qcow2

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Layer is one file of a disk.
type Layer struct {
	Path   string
	Format string // "qcow2" or "raw"
}

const maxChain = 16

// Chain returns the files of the disk at path, the top first, as their headers
// state them and without guessing a format. It is for images that this host made:
// it reads whatever a header names. Errors wrap ErrFormat, or are the file's.
func Chain(path string) ([]Layer, error) {
	return ChainWithin(path, func(string) error { return nil })
}

// ChainWithin is Chain of an image whose header others may have changed since: each
// name in one is told to may, whose error ends it, before the file is opened.
func ChainWithin(path string, may func(path string) error) ([]Layer, error) {
	layers := []Layer{{Path: path, Format: "qcow2"}}
	for len(layers) <= maxChain {
		top := layers[len(layers)-1]
		if top.Format == "raw" {
			return layers, nil
		}
		info, err := InspectFile(top.Path)
		if err != nil {
			return nil, err
		}
		if info.BackingFile == "" {
			return layers, nil
		}
		if f := info.BackingFormat; f != "raw" && f != "qcow2" {
			return nil, fmt.Errorf("%s: %w: backing format %q", top.Path, ErrFormat, f)
		}
		next := info.BackingFile
		if !filepath.IsAbs(next) {
			next = filepath.Join(filepath.Dir(top.Path), next)
		}
		if err := may(next); err != nil {
			return nil, fmt.Errorf("%s: %w", top.Path, err)
		}
		layers = append(layers, Layer{Path: next, Format: info.BackingFormat})
	}
	return nil, fmt.Errorf("%s: %w: more than %d backing files", path, ErrFormat, maxChain)
}

// InspectFile is Inspect of the file at path, named in errors.
func InspectFile(path string) (Info, error) {
	f, err := os.Open(path)
	if err != nil {
		return Info{}, err
	}
	defer f.Close()
	info, err := Inspect(f)
	if err != nil {
		err = fmt.Errorf("%s: %w", path, err)
	}
	return info, err
}

// Disk is a disk with all the files of its chain open for reading.
type Disk struct {
	io.ReaderAt
	Size  int64 // bytes
	files []*os.File
}

// Open opens the disk at path with its chain; see Chain for what to trust it with.
func Open(path string) (*Disk, error) { return OpenLayer(Layer{Path: path, Format: "qcow2"}) }

// OpenLayer is Open of a disk whose format is given: "qcow2" or "raw".
func OpenLayer(top Layer) (*Disk, error) {
	layers, err := below(top)
	if err != nil {
		return nil, err
	}
	return openLayers(layers)
}

// below is a layer with those under it, as their headers state them.
func below(top Layer) ([]Layer, error) {
	switch top.Format {
	case "raw":
		return []Layer{top}, nil
	case "qcow2":
		return Chain(top.Path)
	}
	return nil, fmt.Errorf("%s: %w: a disk in format %q", top.Path, ErrFormat, top.Format)
}

// openLayers opens a disk of these files, the top first, whatever their headers name.
func openLayers(layers []Layer) (*Disk, error) {
	d := &Disk{}
	for i := len(layers) - 1; i >= 0; i-- {
		if err := d.push(layers[i]); err != nil {
			d.Close()
			return nil, fmt.Errorf("%s: %w", layers[i].Path, err)
		}
	}
	return d, nil
}

// push lays one more layer over the disk.
func (d *Disk) push(l Layer) error {
	f, err := os.Open(l.Path)
	if err != nil {
		return err
	}
	d.files = append(d.files, f)
	if l.Format == "raw" {
		st, err := f.Stat()
		if err == nil {
			d.ReaderAt, d.Size = rawFile{f}, st.Size()
		}
		return err
	}
	r, err := NewReader(f, d.ReaderAt, d.Size)
	if err == nil {
		d.ReaderAt, d.Size = r, r.Size()
	}
	return err
}

// Close closes all files.
func (d *Disk) Close() error {
	var first error
	for _, f := range d.files {
		if err := f.Close(); err != nil && first == nil {
			first = err
		}
	}
	return first
}
