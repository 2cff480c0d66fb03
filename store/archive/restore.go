package archive

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/shakenfist/cloud/store"
)

// Errors of Restore and Check.
var (
	// ErrNotEmpty: the store has records, which nothing is put over.
	ErrNotEmpty = errors.New("archive: the store is not empty")
	// ErrPartial: a Restore into this store was interrupted.
	ErrPartial = errors.New("archive: a restore into this store was not finished: empty it and restore again")
)

// restoring is the key that exists during a Restore. It sorts before all of a cloud's.
const restoring = "!restoring"

// Check returns ErrPartial where a Restore is under way or was interrupted.
func Check(ctx context.Context, s store.Store) error {
	_, err := s.Get(ctx, restoring)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil
	case err != nil:
		return err
	}
	return ErrPartial
}

// Restore puts an archive into an empty store. It reads r twice, and writes nothing before the
// archive has proved to be whole. A Restore that fails later, or is interrupted,
// leaves a store that Check refuses.
func Restore(ctx context.Context, s store.Store, r io.ReadSeeker) (h Header, records int, err error) {
	if h, records, err = Verify(r); err != nil {
		return h, 0, err
	}
	if _, err = r.Seek(0, io.SeekStart); err != nil {
		return h, 0, fmt.Errorf("archive: %w", err)
	}
	if err := begin(ctx, s); err != nil {
		return h, 0, err
	}
	if err := fill(ctx, s, r); err != nil {
		return h, 0, fmt.Errorf("archive: restore: %w; the store is incomplete: empty it and restore again", err)
	}
	_, err = s.Commit(ctx, store.Txn{If: []store.Cond{store.Exists(restoring)}, Do: []store.Op{store.Delete(restoring)}})
	if err != nil {
		return h, 0, fmt.Errorf("archive: finish restoring: %w", err)
	}
	return h, records, nil
}

// begin marks an empty store as being filled.
func begin(ctx context.Context, s store.Store) error {
	if err := Check(ctx, s); err != nil {
		return err
	}
	l, err := s.List(ctx, "", store.Page{Limit: 1})
	if err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	if len(l.Records) > 0 {
		return fmt.Errorf("%w: it has %q, and perhaps more", ErrNotEmpty, l.Records[0].Key)
	}
	_, err = s.Commit(ctx, store.Txn{If: []store.Cond{store.Absent(restoring)}, Do: []store.Op{store.Put(restoring, nil)}})
	if errors.Is(err, store.ErrConflict) {
		return ErrPartial
	}
	if err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	return nil
}

// fill writes all records, as many at a time as a transaction takes. Each is on the
// condition that nobody else has written it.
func fill(ctx context.Context, s store.Store, r io.Reader) error {
	a, _, err := newReader(r)
	if err != nil {
		return err
	}
	var txn store.Txn
	size := 0
	flush := func() error {
		if len(txn.Do) == 0 {
			return nil
		}
		_, err := s.Commit(ctx, txn)
		txn, size = store.Txn{}, 0
		return err
	}
	for {
		l, err := a.next()
		if errors.Is(err, io.EOF) {
			return flush()
		}
		if err != nil {
			return err
		}
		more := 2*len(l.Key) + len(l.Value)
		if len(txn.Do) == store.MaxOps/2 || size+more > store.MaxBytes {
			if err := flush(); err != nil {
				return err
			}
		}
		txn.If = append(txn.If, store.Absent(l.Key))
		txn.Do = append(txn.Do, store.Put(l.Key, l.Value))
		size += more
	}
}
