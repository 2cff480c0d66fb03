package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"

	"github.com/shakenfist/cloud/store/archive"
)

// recordCommands are about all of a cloud's records.
var recordCommands = []*command{
	{name: "backup", args: []string{"FILE"}, does: "writes all records to a new file, sfd running or not",
		more: "Disks, images and secrets are not in it. The file is for root alone: hashed keys are in it.",
		run:  func(ctx context.Context, c *config, call *call) error { return backup(ctx, c, call.args[0], call.log) }},
	{name: "restore", args: []string{"FILE"}, does: "puts such a file into an empty data directory or etcd",
		more: "Nothing is written where FILE is damaged or something is there already.",
		run:  func(ctx context.Context, c *config, call *call) error { return restore(ctx, c, call.args[0], call.log) }},
}

// backup writes an archive of the cloud's records to a new file, which is
// there only once it is whole.
func backup(ctx context.Context, c *config, path string, log *slog.Logger) error {
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("backup: %s exists already: name a new file", path)
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // mode 0600: keys are in it
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if err := copyRecords(ctx, c, f); err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	h, records, err := archive.Verify(f)
	if err != nil {
		return fmt.Errorf("backup: what was written is not whole: %w", err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	log.Info("backed up", "file", path, "cloud", h.Cloud, "records", records, "revision", h.Revision)
	return syncDir(filepath.Dir(path))
}

// copyRecords writes an archive of the records, by whoever can open them.
func copyRecords(ctx context.Context, c *config, w io.Writer) error {
	l, err := reach(ctx, c)
	if err != nil {
		return err
	}
	err = l.do(ctx, http.MethodGet, adminBackup, nil, w)
	return errors.Join(err, l.Close())
}

// restore puts an archive into the store that the options name, which must be empty.
func restore(ctx context.Context, c *config, path string, log *slog.Logger) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	defer f.Close()
	h, _, err := archive.Verify(f) // before anything is made
	if err != nil {
		return fmt.Errorf("restore: %s: %w", path, err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	lock, err := lockDir(ctx, c)
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	defer lock.Close()
	if err := suits(c, h.Cloud); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	s, err := openAnyStore(ctx, c, log)
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	defer s.Close()
	_, records, err := archive.Restore(ctx, s, f)
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	log.Info("restored", "file", path, "cloud", h.Cloud, "records", records)
	return nil
}

// suits refuses the records of another cloud than the one that this host's machines are of.
func suits(c *config, cloud string) error {
	data, err := os.ReadFile(c.path(identityName))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	known, err := parseIdentity(c, data)
	if err != nil {
		return err
	}
	if known.Cloud != cloud {
		return fmt.Errorf("the archive is of cloud %s, but this host's machines belong to cloud %s (%s)", cloud, known.Cloud, c.path(identityName))
	}
	return nil
}
