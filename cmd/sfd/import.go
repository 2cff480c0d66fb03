package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/v02"
	"github.com/shakenfist/cloud/store"
	"github.com/shakenfist/cloud/store/archive"
	"github.com/shakenfist/cloud/store/memory"
)

// runImport is sfd import.
func runImport(ctx context.Context, c *config, call *call) error {
	if err := importCloud(ctx, c, c.old, call.stdout, call.log); err != nil {
		return fmt.Errorf("import: %w", err)
	}
	return nil
}

// importCloud reads the original's store and puts it into ours, or, unless that is to
// be, into a copy of ours that is thrown away: so what is told is what would happen.
func importCloud(ctx context.Context, c *config, o importOptions, out io.Writer, log *slog.Logger) error {
	if err := apart(c, o); err != nil {
		return err
	}
	old, err := readOld(ctx, o.from, log)
	if err != nil {
		return err
	}
	im := &importer{config: c, options: o, plan: v02.Read(old, v02.Options{DiskBus: c.diskBus, Renumber: o.renumber}), out: out, log: log}
	if im.here, im.known, err = thisNode(c, log); err != nil {
		return err
	}
	if !o.apply {
		if im.store, err = copyOfStore(ctx, c, log); err != nil {
			return err
		}
		defer im.store.Close()
		fmt.Fprintln(out, "Nothing is changed; with --apply this happens:")
		return im.run(ctx)
	}
	if !c.shared() || o.disks != "" { // else nothing is touched here
		lock, err := lockDir(ctx, c)
		if err != nil {
			return err
		}
		defer lock.Close()
	}
	if im.store, err = openStore(ctx, c, log); err != nil {
		return err
	}
	defer im.store.Close()
	return im.run(ctx)
}

// thisNode is what this machine is called in the cloud, and the identity that is
// remembered here.
func thisNode(c *config, log *slog.Logger) (name string, known identity, err error) {
	if known, err = readIdentity(c); err != nil {
		return "", known, err
	}
	host, err := os.Hostname()
	if err != nil {
		return "", known, err
	}
	name, err = nodeName(c, known, host, log)
	return name, known, err
}

// apart refuses the original's own storage as our data directory.
func apart(c *config, o importOptions) error {
	if o.disks == "" {
		return nil
	}
	theirs, err := os.Stat(filepath.Join(o.disks, "instances"))
	if err != nil {
		return fmt.Errorf("--disks: no instances are in %s: %w", o.disks, err)
	}
	if ours, err := os.Stat(c.path("instances")); err == nil && os.SameFile(ours, theirs) {
		return fmt.Errorf("--disks: %s is our own data directory too: choose another --data-dir", o.disks)
	}
	return nil
}

// readOld reads the original's records as of one moment.
func readOld(ctx context.Context, from etcdOptions, log *slog.Logger) ([]v02.Record, error) {
	s, err := from.open(ctx, "--from", log)
	if err != nil {
		return nil, fmt.Errorf("the records of Shaken Fist 0.2: %w", err)
	}
	defer s.Close()
	later, err := s.List(ctx, v02.Later, store.Page{Limit: 1})
	if err != nil {
		return nil, err
	}
	if len(later.Records) > 0 {
		return nil, fmt.Errorf("%s is the store of a later Shaken Fist than 0.2, whose records are others (%s)", from.endpoints[0], later.Records[0].Key)
	}
	var all []v02.Record
	for _, prefix := range v02.Prefixes {
		l, err := s.List(ctx, prefix, store.Page{At: later.Revision})
		if err != nil {
			return nil, err
		}
		for _, r := range l.Records {
			all = append(all, v02.Record{Key: r.Key, Value: r.Value})
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s has no records of Shaken Fist 0.2 (keys that begin with %s): is it the right etcd?", from.endpoints[0], v02.Root)
	}
	return all, nil
}

// copyOfStore is our store in memory; an empty one where there is none yet.
func copyOfStore(ctx context.Context, c *config, log *slog.Logger) (store.Store, error) {
	s := memory.New(memory.Config{})
	if c.shared() {
		return s, copyShared(ctx, c, s, log)
	}
	if _, err := os.Stat(c.path(storeName)); errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	var b bytes.Buffer
	if err := copyRecords(ctx, c, &b); err != nil {
		return nil, err
	}
	_, _, err := archive.Restore(ctx, s, bytes.NewReader(b.Bytes()))
	return s, err
}

// copyShared copies what is in etcd, which nodes are there included.
func copyShared(ctx context.Context, c *config, to store.Store, log *slog.Logger) error {
	from, err := openStore(ctx, c, log)
	if err != nil {
		return err
	}
	defer from.Close()
	l, err := from.List(ctx, "", store.Page{})
	if err != nil {
		return err
	}
	for _, r := range l.Records {
		if _, err := to.Commit(ctx, store.Txn{Do: []store.Op{store.Put(r.Key, r.Value)}}); err != nil {
			return err
		}
	}
	return nil
}

// openImported opens the cloud to import into. It gets the original's floating network
// where it has no address of its own in use and none is asked for.
func (im *importer) openImported(ctx context.Context) (*sf.Cloud, error) {
	cfg := sf.Config{Store: im.store, FloatingNetwork: im.config.floating, DiskBus: im.config.diskBus}
	cloud, err := sf.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	n, err := cloud.Network(ctx, sf.FloatingNetwork)
	if err != nil {
		return nil, errors.Join(err, cloud.Close())
	}
	im.floating = n.Prefix()
	if im.floating == im.plan.Floating || !im.plan.Floating.IsValid() || cfg.FloatingNetwork.IsValid() {
		return cloud, nil
	}
	cfg.FloatingNetwork = im.plan.Floating
	other, err := sf.Open(ctx, cfg)
	if err != nil {
		im.line("note", sf.KindNetwork, sf.FloatingNetwork, "", "it stays "+im.floating.String()+": "+err.Error())
		return cloud, nil
	}
	im.floating = im.plan.Floating
	im.line("import", sf.KindNetwork, sf.FloatingNetwork, "", im.floating.String())
	return other, cloud.Close()
}
