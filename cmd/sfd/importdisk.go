package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/image/qcow2"
	"github.com/shakenfist/cloud/sf/spec"
	"github.com/shakenfist/cloud/sf/v02"
)

// oldImages is where the original has the images that disks lie over, in its storage.
const oldImages = "image_cache"

// broughtDisk is a disk of the original's that is to be copied.
type broughtDisk struct {
	v02.Disk
	layers []qcow2.Layer // the disk, and the image it lies over
}

// findDisks looks for an instance's disks in the original's storage. None is
// fs.ErrNotExist; any other error says what is wrong with one.
func findDisks(storage string, i *v02.Instance) ([]broughtDisk, error) {
	var all []broughtDisk
	for _, d := range i.Disks {
		path := filepath.Join(storage, "instances", i.UUID, d.File)
		layers, err := oldLayers(storage, path)
		if err != nil {
			return nil, err
		}
		all = append(all, broughtDisk{d, layers})
	}
	return all, nil
}

// oldLayers inspects a disk of the original's. Its header names the image, often
// without the format; it has to be one of the cache beside it, and stand alone: a
// tenant's image may name any file of the host.
func oldLayers(storage, path string) ([]qcow2.Layer, error) {
	if err := plainFile(path); err != nil {
		return nil, err
	}
	info, err := qcow2.InspectFile(path)
	if err != nil {
		return nil, err
	}
	layers := []qcow2.Layer{{Path: path, Format: "qcow2"}}
	if info.BackingFile == "" {
		return layers, nil
	}
	dir, name := filepath.Split(info.BackingFile)
	if filepath.Base(dir) != oldImages || name == "" {
		return nil, fmt.Errorf("%s lies over %s, which is no image of the cache %s", path, info.BackingFile, filepath.Join(storage, oldImages))
	}
	base := qcow2.Layer{Path: filepath.Join(storage, oldImages, name), Format: info.BackingFormat}
	if err := plainFile(base.Path); err != nil {
		return nil, fmt.Errorf("the image under %s: %w", path, noWrap(err))
	}
	if base.Format == "" {
		if base.Format, err = likeQEMU(base.Path); err != nil {
			return nil, err
		}
	}
	if base.Format == "qcow2" {
		under, err := qcow2.InspectFile(base.Path)
		if err == nil {
			err = under.Safe()
		}
		if err != nil {
			return nil, fmt.Errorf("the image under %s: %s: %w", path, base.Path, err)
		}
	}
	return append(layers, base), nil
}

// noWrap keeps a missing image from looking like a missing disk.
func noWrap(err error) error { return errors.New(err.Error()) }

// plainFile refuses what is no file of its own.
func plainFile(path string) error {
	st, err := os.Lstat(path)
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a plain file", path)
	}
	return err
}

// likeQEMU finds out the format that the original's QEMU took an image for, where the
// disk over it does not say.
func likeQEMU(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	magic := make([]byte, 4)
	if _, err := io.ReadFull(f, magic); err == nil && bytes.Equal(magic, []byte("QFI\xfb")) {
		return "qcow2", nil
	}
	return "raw", nil
}

// written reports an error where a machine still runs on one of the disks.
func written(disks []broughtDisk) error {
	for _, d := range disks {
		if err := hasWriter(d.layers[0].Path); err != nil {
			return err
		}
	}
	return nil
}

// bringDisks copies disks to where this host's instance has its own, each into one
// file. What an earlier import left there is replaced: the original may have run
// since. On an error nothing is left.
func bringDisks(ctx context.Context, c *config, id string, disks []broughtDisk) (err error) {
	dir := filepath.Join(c.path("instances"), id)
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	for _, d := range disks {
		to := filepath.Join(dir, d.Device+".qcow2")
		if err := qcow2.FlattenLayers(ctx, d.layers, to, nil); err != nil {
			return fmt.Errorf("copy of %s: %w", d.layers[0].Path, err)
		}
	}
	if err := written(disks); err != nil {
		return err
	}
	return errors.Join(syncDir(dir), syncDir(filepath.Dir(dir)))
}

// foreign refuses a data directory that has not been ours yet and in which there are
// disks or snapshots that the records do not know: sfd would take them for leftovers
// and remove them.
func foreign(ctx context.Context, c *config, cloud *sf.Cloud) error {
	for _, sort := range []struct {
		dir  string
		find func(id string) error
	}{
		{"instances", func(id string) error { _, err := cloud.Instance(ctx, id); return err }},
		{"snapshots", func(id string) error { _, err := cloud.SnapshotByID(ctx, id); return err }},
	} {
		entries, err := os.ReadDir(c.path(sort.dir))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, e := range entries {
			if !spec.ValidUUID(e.Name()) {
				continue
			}
			err := sort.find(e.Name())
			if errors.Is(err, sf.ErrNotFound) {
				return fmt.Errorf("%s is nothing that this cloud knows, perhaps of a Shaken Fist 0.2: sfd would remove it; "+
					"choose another --data-dir (sfd import brings instances over), or move %s away", filepath.Join(c.path(sort.dir), e.Name()), c.path(sort.dir))
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// dropDisks removes what bringDisks made.
func dropDisks(c *config, id string) error {
	return os.RemoveAll(filepath.Join(c.path("instances"), id))
}
