//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/shakenfist/cloud/driver/libvirt/libvirtd"
	"github.com/shakenfist/cloud/examples/internal/census"
)

// down ends a cluster, in whatever state it is, and shows that nothing is left. It
// asks nobody: what belongs to the cluster is known from its plan.
func down(ctx context.Context, dir string) error {
	p, err := loadPlan(dir)
	if errors.Is(err, os.ErrNotExist) {
		return downWithoutPlan(dir)
	}
	if err != nil {
		return err
	}
	before, err := census.Load(dir)
	delete(before, census.Groups)       // others'
	if errors.Is(err, os.ErrNotExist) { // a start was cut off there: nothing was made yet
		before, err = census.Host()
	}
	if err != nil {
		return err
	}
	during, err := p.census()
	if err != nil {
		return err
	}
	if err := p.remove(ctx); err != nil {
		return fmt.Errorf("%w; to go on, say %s again", err, p.ending())
	}
	after, err := p.census()
	if err != nil {
		return err
	}
	return report(before, during, after)
}

// downWithoutPlan removes the directory of a start that was cut off before it had
// made anything else, and no other directory.
func downWithoutPlan(dir string) error {
	if _, err := os.Lstat(dir); errors.Is(err, os.ErrNotExist) {
		fmt.Printf("There is no cluster in %s: nothing to remove.\n", dir)
		return nil
	}
	if !unplanned(dir) {
		return fmt.Errorf("%s is not the directory of a cluster: it is left alone", dir)
	}
	fmt.Printf("In %s a start was cut off before it had made anything.\n", dir)
	return os.RemoveAll(dir)
}

// unplanned reports whether a directory holds no more than such a start has left.
func unplanned(dir string) bool {
	inside, err := os.ReadDir(dir)
	return err == nil && !slices.ContainsFunc(inside, func(e os.DirEntry) bool { return e.Name() != lockName && e.Name() != planName+".new" })
}

// report says what was removed, and fails where something is left. New devices and
// rules of the host's own are somebody else's: the cluster has none there.
func report(before, during, after census.Census) error {
	fmt.Println("Removed:")
	for _, kind := range census.Kinds {
		gone := slices.DeleteFunc(slices.Clone(during[kind]), func(name string) bool { return slices.Contains(after[kind], name) })
		switch {
		case len(gone) > 12:
			fmt.Printf("  %d %s\n", len(gone), kind)
		case len(gone) > 0:
			fmt.Printf("  %s: %s\n", kind, strings.Join(gone, " "))
		}
	}
	fmt.Println()
	census.Show(before, during, after)
	if foreign := census.Left(before, after, census.Devices, census.Rules); len(foreign) > 0 {
		fmt.Println("New on the host since the cluster was begun, and not the cluster's:", strings.Join(foreign, ", "))
	}
	if left := census.Left(nil, after, census.Namespaces, census.Processes, census.Mounts, census.Groups, census.Files); len(left) > 0 {
		return fmt.Errorf("left behind: %s", strings.Join(left, ", "))
	}
	fmt.Println("Nothing of the cluster is left.")
	return nil
}

// remove removes everything: what runs, then what it ran in.
func (p *plan) remove(ctx context.Context) error {
	groups := p.groups()
	if err := p.endProcesses(ctx); err != nil {
		return err
	}
	errs := []error{p.unmount(), p.unname(), removeGroups(groups), libvirtd.RemoveMountPoints(p.MountPoints)}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return os.RemoveAll(p.Dir)
}

// unmount unmounts everything below the cluster's directory, the last mounted
// first. Nothing there may be deleted before.
func (p *plan) unmount() error {
	mounted, err := census.Mounted(p.Dir)
	if err != nil {
		return err
	}
	for _, path := range slices.Backward(mounted) {
		if err := unmount(path); err != nil {
			return err
		}
	}
	if mounted, err = census.Mounted(p.Dir); err == nil && len(mounted) > 0 {
		err = fmt.Errorf("still mounted: %s", strings.Join(mounted, ", "))
	}
	return err
}

func unmount(path string) error {
	err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	if err == nil || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
		return nil // or it is none, or gone
	}
	return fmt.Errorf("unmount %s: %w", path, err)
}

// unname takes away the names of the nodes' namespaces, which is their end, and the
// directory of such names where there was none before.
func (p *plan) unname() error {
	var errs []error
	for _, name := range p.namespaces() {
		path := filepath.Join(namesDir, name)
		errs = append(errs, unmount(path), gone(os.Remove(path)))
	}
	if names, err := os.ReadDir(namesDir); p.NamesDir && err == nil && len(names) == 0 {
		if unix.Unmount(namesDir, unix.UMOUNT_NOFOLLOW) != unix.EBUSY { // somebody was quicker: it is theirs now
			errs = append(errs, gone(os.Remove(namesDir)))
		}
	}
	return errors.Join(errs...)
}

// gone takes what does not exist for removed, and a directory that others use by
// now for theirs.
func gone(err error) error {
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENOTEMPTY) {
		return nil
	}
	return err
}
