package qcow2

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
)

const (
	flattenPiece   = 1 << 20 // bytes read and written at once, whole clusters
	flattenReaders = 4       // at most
)

// Flatten copies the disk that from is the top of into a new image at path, which
// must not exist and needs no other file. What reads as zeroes takes no room.
// Nobody may write to the disk meanwhile. step, when not nil, is told how far the
// copy is through the disk, in bytes, and its error ends the copy. The file is
// not a valid image until the copy is whole and durable; on an error it is
// removed. Errors wrap ErrFormat or ErrUnsafe where the disk is to blame, or are
// ctx's, step's or the file's.
func Flatten(ctx context.Context, from Layer, path string, step func(done, total int64) error) error {
	layers, err := below(from)
	if err != nil {
		return fmt.Errorf("flatten: %w", err)
	}
	return FlattenLayers(ctx, layers, path, step)
}

// FlattenLayers is Flatten of a disk of the files given, the top first and at least
// one, whatever their headers name.
func FlattenLayers(ctx context.Context, layers []Layer, path string, step func(done, total int64) error) (err error) {
	disk, err := openLayers(layers)
	if err != nil {
		return fmt.Errorf("flatten: %w", err)
	}
	defer disk.Close()
	w, err := newWriter(path, (disk.Size+511)&^511)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := w.file.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			os.Remove(path)
		}
	}()
	if step == nil {
		step = func(int64, int64) error { return nil }
	}
	if err := copyDisk(ctx, disk, layers, w, step); err != nil {
		return fmt.Errorf("flatten %s: %w", layers[0].Path, err)
	}
	return w.finish()
}

// piece is a stretch of the disk on its way from a reader to the writer.
type piece struct {
	offset int64
	data   []byte // of whole clusters; beyond the end of the disk zero
	err    error
	read   chan struct{} // closed when data is there, or err
}

// copyDisk reads ahead with a few readers, each with the disk open for itself,
// and writes in order. All goroutines have ended when it returns.
func copyDisk(ctx context.Context, disk *Disk, from []Layer, w *writer, step func(done, total int64) error) error {
	ctx, cancel := context.WithCancel(ctx)
	readers := min(runtime.GOMAXPROCS(0), flattenReaders)
	order := make(chan *piece, readers) // as the disk has them
	todo := make(chan *piece, readers)
	free := make(chan []byte, 2*readers+2)
	for range cap(free) {
		free <- make([]byte, flattenPiece)
	}
	failed := make(chan error, 1)
	ended := make(chan struct{}, readers+1)
	go func() {
		defer func() { close(order); close(todo); ended <- struct{}{} }()
		failed <- plan(ctx, disk, w.ClusterSize, func(offset, end int64) error {
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case b := <-free:
				p := &piece{offset: offset, data: b[:end-offset], read: make(chan struct{})}
				order <- p
				todo <- p
				return nil
			}
		})
	}()
	for range readers {
		go func() {
			defer func() { ended <- struct{}{} }()
			readPieces(from, todo)
		}()
	}
	var err error
	for p := range order {
		<-p.read
		if err == nil {
			err = p.err
		}
		if err == nil {
			err = w.write(p.data, p.offset)
		}
		if err == nil {
			err = step(min(p.offset+int64(len(p.data)), disk.Size), disk.Size)
		}
		if err != nil {
			cancel()
		}
		free <- p.data[:cap(p.data)]
	}
	cancel()
	for range readers + 1 {
		<-ended
	}
	if perr := <-failed; err == nil {
		err = perr
	}
	if err == nil {
		err = step(disk.Size, disk.Size)
	}
	return err
}

// readPieces fills pieces until there are no more.
func readPieces(from []Layer, todo <-chan *piece) {
	disk, err := openLayers(from)
	if err == nil {
		defer disk.Close()
	}
	for p := range todo {
		p.err = err
		if err == nil {
			n := min(int64(len(p.data)), disk.Size-p.offset)
			clear(p.data[n:])
			_, p.err = io.ReadFull(io.NewSectionReader(disk, p.offset, n), p.data[:n])
		}
		close(p.read)
	}
}

// plan calls emit for all pieces of a disk that may hold data, in order. They
// begin and end at multiples of cluster, also where that is beyond the end.
func plan(ctx context.Context, disk *Disk, cluster int64, emit func(offset, end int64) error) error {
	var start, end int64 // found, but not emitted
	for offset := int64(0); offset < disk.Size; {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		data, length, err := extent(disk.ReaderAt, offset, disk.Size)
		if err != nil {
			return err
		}
		if length <= 0 {
			return fmt.Errorf("%w: the disk ends at %d bytes of %d", ErrFormat, offset, disk.Size)
		}
		from := max(offset&^(cluster-1), end)
		to := (offset + length + cluster - 1) &^ (cluster - 1)
		if offset += length; !data {
			continue
		}
		if from > end {
			if start < end {
				if err := emit(start, end); err != nil {
					return err
				}
			}
			start = from
		}
		for end = max(to, end); end-start >= flattenPiece; start += flattenPiece {
			if err := emit(start, start+flattenPiece); err != nil {
				return err
			}
		}
	}
	if start < end {
		return emit(start, end)
	}
	return nil
}
