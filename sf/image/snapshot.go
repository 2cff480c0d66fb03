package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/shakenfist/cloud/driver"
)

var _ driver.Snapshots = (*Local)(nil)

// What a snapshot's directory is called says what it is: only a rename makes it
// <uuid>, and only a rename ends that.
const (
	partialSuffix = ".partial"
	goneSuffix    = ".gone"
	manifestName  = "snapshot.json"
)

// manifest is the list of a snapshot's files, in the order in which they were
// asked for; the first is the boot disk.
type manifest struct {
	Files []driver.SnapshotFile `json:"files"`
}

func (m manifest) has(device string) bool {
	return slices.ContainsFunc(m.Files, func(f driver.SnapshotFile) bool { return f.Device == device })
}

func readManifest(dir string) (m manifest, err error) {
	b, err := os.ReadFile(filepath.Join(dir, manifestName))
	if err == nil {
		err = json.Unmarshal(b, &m)
	}
	return m, err
}

func (m manifest) write(dir string) error {
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	if err := replaceFile(filepath.Join(dir, manifestName), append(b, '\n')); err != nil {
		return err
	}
	return syncDir(dir)
}

// snapshot checks an ID and serialises what is done to the snapshot.
func (l *Local) snapshot(id string) (dir string, unlock func(), err error) {
	if err := checkSnapshot(id); err != nil {
		return "", nil, err
	}
	return filepath.Join(l.snapshots, id), l.copying.lock(id), nil
}

func checkSnapshot(id string) error {
	if !uuidForm.MatchString(id) {
		return fmt.Errorf("%w: snapshot ID %.80q: use a UUID in lower case", driver.ErrInvalid, id)
	}
	return nil
}

func checkDevice(device string) error {
	if !deviceForm.MatchString(device) {
		return fmt.Errorf("%w: device %.80q of a snapshot: use a name such as vda", driver.ErrInvalid, device)
	}
	return nil
}

// SnapshotPath implements driver.Snapshots. For a snapshot that is finished it
// gives a path as well, but what is put there is dropped by FinishSnapshot: a
// snapshot never changes.
func (l *Local) SnapshotPath(_ context.Context, id, device string) (string, error) {
	if err := checkDevice(device); err != nil {
		return "", err
	}
	dir, unlock, err := l.snapshot(id)
	if err != nil {
		return "", err
	}
	defer unlock()
	dir += partialSuffix
	// Machines' processes reach the file that they are told to write.
	for _, d := range []string{l.snapshots, dir} {
		if err := os.MkdirAll(d, 0o711); err != nil {
			return "", l.config.Cache.noSpace(err, 0)
		}
		if err := os.Chmod(d, 0o711); err != nil { // whatever a Finish that failed left
			return "", err
		}
	}
	m, err := readManifest(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("snapshot %s: %w", id, err)
	}
	if !m.has(device) {
		m.Files = append(m.Files, driver.SnapshotFile{Device: device})
		if err := m.write(dir); err != nil {
			return "", l.config.Cache.noSpace(err, 0)
		}
	}
	return filepath.Join(dir, device+".qcow2"), syncDir(l.snapshots)
}

// FinishSnapshot implements driver.Snapshots. Every device that SnapshotPath was
// asked about must have a sound file, which nobody writes to any more; when it
// returns nobody can.
func (l *Local) FinishSnapshot(ctx context.Context, id string) ([]driver.SnapshotFile, error) {
	dir, unlock, err := l.snapshot(id)
	if err != nil {
		return nil, err
	}
	defer unlock()
	partial := dir + partialSuffix
	m, err := readManifest(dir)
	if err == nil {
		return m.Files, os.RemoveAll(partial)
	}
	if errors.Is(err, fs.ErrNotExist) {
		m, err = readManifest(partial)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("finish snapshot %s: %w", id, errNoSnapshot)
	case err != nil:
		return nil, fmt.Errorf("finish snapshot %s: %w", id, err)
	}
	// From here on nobody but us can reach the files by their names.
	if err := os.Chmod(partial, 0o700); err != nil {
		return nil, fmt.Errorf("finish snapshot %s: %w", id, err)
	}
	for k := range m.Files {
		f := &m.Files[k]
		if err := l.seal(ctx, filepath.Join(partial, f.Device+".qcow2"), f); err != nil {
			return nil, fmt.Errorf("finish snapshot %s of %s: %w", id, f.Device, l.config.Cache.noSpace(err, 0))
		}
	}
	err = m.write(partial)
	if err == nil {
		err = os.Rename(partial, dir)
	}
	if err == nil {
		err = syncDir(l.snapshots)
	}
	if err != nil {
		return nil, fmt.Errorf("finish snapshot %s: %w", id, l.config.Cache.noSpace(err, 0))
	}
	return m.Files, nil
}

// seal takes a file from whoever wrote it, checks that it is a whole disk that
// needs no other file, makes it durable, and notes its sizes.
func (l *Local) seal(ctx context.Context, path string, file *driver.SnapshotFile) error {
	st, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no copy: %w", err)
	}
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() {
		return fmt.Errorf("%w: the copy is %s", ErrUnsafe, st.Mode().Type())
	}
	if err := own(path, st); err != nil {
		return err
	}
	if err := os.Chmod(path, 0o444); err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := l.config.Cache.quiet(ctx, f); err != nil {
		return err
	}
	// Not syncFile, which opens for writing: on Linux any descriptor will do.
	if err := f.Sync(); err != nil {
		return err
	}
	if st, err = f.Stat(); err != nil {
		return err
	}
	file.Size = st.Size()
	file.VirtualSize, err = inspectQcow2(ctx, f, file.Size, maxVolume)
	return err
}

// errNoSnapshot is what is returned for a snapshot or a device that is not here.
var errNoSnapshot = fmt.Errorf("%w: no such snapshot on this host", driver.ErrNotFound)

// OpenSnapshot implements driver.Snapshots.
func (l *Local) OpenSnapshot(_ context.Context, id, device string) (driver.SnapshotReader, error) {
	if err := checkDevice(device); err != nil {
		return nil, err
	}
	if err := checkSnapshot(id); err != nil {
		return nil, err
	}
	// Without the lock: the directory comes and goes at once.
	f, err := os.Open(filepath.Join(l.snapshots, id, device+".qcow2"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("snapshot %s of %s: %w", id, device, errNoSnapshot)
	}
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	return snapshotReader{f, st.Size()}, nil
}

// snapshotReader is an open file, which outlives the snapshot's removal.
type snapshotReader struct {
	*os.File
	size int64
}

func (r snapshotReader) Size() int64 { return r.size }

// RemoveSnapshot implements driver.Snapshots. An image that was made of it stays
// in the cache as long as a volume is laid over it.
func (l *Local) RemoveSnapshot(_ context.Context, id string) error {
	dir, unlock, err := l.snapshot(id)
	if err != nil {
		return err
	}
	defer unlock()
	if err := l.removeSnapshot(id, dir); err != nil {
		return fmt.Errorf("remove snapshot %s: %w", id, err)
	}
	return nil
}

// removeSnapshot removes what there is of a snapshot. One that was finished is
// gone all at once, however long its files take.
func (l *Local) removeSnapshot(id, dir string) error {
	if err := l.dropImages(id, dir); err != nil {
		return err
	}
	if err := os.RemoveAll(dir + goneSuffix); err != nil {
		return err
	}
	if err := os.Rename(dir, dir+goneSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, d := range []string{dir + partialSuffix, dir + goneSuffix} {
		if err := os.RemoveAll(d); err != nil {
			return err
		}
	}
	if err := syncDir(l.snapshots); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// ListSnapshots implements driver.Snapshots, sorted. One whose removal was cut
// short is listed too.
func (l *Local) ListSnapshots(context.Context) ([]string, error) {
	entries, err := os.ReadDir(l.snapshots)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var ids []string
	for _, e := range entries {
		id := strings.TrimSuffix(strings.TrimSuffix(e.Name(), partialSuffix), goneSuffix)
		if e.IsDir() && uuidForm.MatchString(id) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}
