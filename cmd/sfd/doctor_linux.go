package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"strings"

	"github.com/shakenfist/cloud/cmd/sfd/internal/doctor"
	"github.com/shakenfist/cloud/netfab/linux"
)

// patient is a host that a doctor looks at.
type patient struct {
	c      *config
	known  identity
	tag    string
	link   *link // to the records; nil where they cannot be reached
	err    error // why
	fabric *linux.Fabric
	lock   io.Closer // of the data directory, where the link to the records has none; may be nil
}

func runDoctor(ctx context.Context, c *config, call *call) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("doctor: must run as root: it looks into other processes and network namespaces")
	}
	p, err := newPatient(ctx, c)
	if err != nil {
		return fmt.Errorf("doctor: %w", err)
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	s, err := p.look(ctx)
	if err != nil {
		return fmt.Errorf("doctor: %w", err)
	}
	checks := p.examine(ctx, s)
	r := doctor.Report{}
	if c.fix {
		if r.Removed, r.Failed, err = p.fix(ctx, s); err == nil {
			s, err = p.look(ctx)
		}
		if err != nil {
			return fmt.Errorf("doctor: %w", err)
		}
	}
	s.Checks = checks
	after := doctor.Make(s)
	after.Removed, after.Failed = r.Removed, r.Failed
	return printReport(c, call, after)
}

func newPatient(ctx context.Context, c *config) (_ *patient, err error) {
	p := &patient{c: c, tag: "nobody"}
	data, err := os.ReadFile(c.path(identityName))
	if err == nil {
		if p.known, err = parseIdentity(c, data); err != nil {
			return nil, err
		}
		p.tag = p.known.tag()
	} else if !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	if p.fabric, err = linux.New(linux.Config{Tag: p.tag, NetNSDir: c.netnsDir}); err != nil {
		return nil, err
	}
	p.link, p.err = reach(ctx, c)
	if c.fix && c.shared() && p.link != nil && !p.link.running { // no sfd is to start meanwhile
		if p.lock, err = lockDir(ctx, c); err != nil {
			return nil, errors.Join(err, p.Close())
		}
	}
	return p, nil
}

func (p *patient) Close() error {
	err := p.fabric.Close()
	if p.link != nil {
		err = errors.Join(err, p.link.Close())
	}
	if p.lock != nil {
		err = errors.Join(err, p.lock.Close())
	}
	return err
}

// look sees what is on the host, and then what the records say of it.
func (p *patient) look(ctx context.Context) (s doctor.Snapshot, err error) {
	s = doctor.Snapshot{Cloud: p.known.Cloud, Node: p.known.Node, Meshed: p.c.nodeIP.IsValid(), Running: p.running()}
	if s.Cloud != "" {
		s.Tag = p.tag
	}
	if s.Things, err = p.things(ctx); err != nil || p.link == nil || s.Cloud == "" {
		return s, err
	}
	s.Records, p.err = p.ask(ctx, s.Things)
	return s, nil
}

func (p *patient) ask(ctx context.Context, things []doctor.Thing) (*doctor.Records, error) {
	ask := doctor.AskFor(things)
	ask.Node = p.known.Node
	question, err := json.Marshal(ask)
	if err != nil {
		return nil, err
	}
	records := &doctor.Records{}
	if err := p.link.do(ctx, http.MethodPost, adminRecords, bytes.NewReader(question), records); err != nil {
		return nil, err
	}
	if records.Cloud != p.known.Cloud { // which name nothing of ours: everything would seem to be left over
		return nil, fmt.Errorf("the records are of cloud %s, but this host's machines belong to cloud %s (%s): they tell nothing of them",
			records.Cloud, p.known.Cloud, p.c.path(identityName))
	}
	return records, nil
}

// running is the process ID of the sfd that runs over the data directory.
func (p *patient) running() int {
	if p.link == nil || !p.link.running {
		return 0
	}
	text, _ := os.ReadFile(p.c.path(lockName))
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return -1 // it runs, whatever its lock says
	}
	return pid
}

// fix removes orphans one by one. Before each, everything is looked at anew, so
// that what is removed is what was just seen to be nobody's.
func (p *patient) fix(ctx context.Context, s doctor.Snapshot) (removed []doctor.Finding, failed []doctor.Failure, err error) {
	tried := map[string]bool{}
	key := func(t doctor.Thing) string { return fmt.Sprint(t.Kind, " ", t.Name, " ", t.PID) }
	for {
		f, ok := doctor.Next(doctor.Judge(s), func(t doctor.Thing) bool { return tried[key(t)] })
		if !ok {
			return removed, failed, nil
		}
		tried[key(f.Thing)] = true
		if err := p.remove(ctx, f.Thing); err != nil {
			failed = append(failed, doctor.Failure{Finding: f, Error: err.Error()})
		} else {
			removed = append(removed, f)
		}
		if s, err = p.look(ctx); err != nil {
			return removed, failed, err
		}
	}
}

// quietly is a log that nobody reads.
func quietly() *slog.Logger { return slog.New(slog.DiscardHandler) }
