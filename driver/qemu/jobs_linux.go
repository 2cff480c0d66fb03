package qemu

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/shakenfist/cloud/driver/qemu/internal/qmp"
)

// jobLook is how often a job that was told to stop is looked at.
const jobLook = 5 * time.Millisecond

// job is one of QEMU's. Progress is in bytes.
type job struct {
	ID     string `json:"id"`
	Status string `json:"status"`
	Done   int64  `json:"current-progress"`
	Total  int64  `json:"total-progress"`
	Error  string `json:"error"`
}

// passed is a set of files that QEMU was given, with our note on it.
type passed struct {
	Set   int `json:"fdset-id"`
	Files []struct {
		Note string `json:"opaque"`
	} `json:"fds"`
}

// jobs returns the jobs of a snapshot.
func (s *session) jobs(ctx context.Context, name string) ([]job, error) {
	var all, ours []job
	err := s.execute(ctx, "query-jobs", &all)
	for _, j := range all {
		if strings.HasPrefix(j.ID, jobPrefix(name)) {
			ours = append(ours, j)
		}
	}
	return ours, err
}

// nodes returns the sizes of all block nodes in bytes, by name.
func (s *session) nodes(ctx context.Context) (map[string]int64, error) {
	var all []struct {
		Name  string `json:"node-name"`
		Image struct {
			Size int64 `json:"virtual-size"`
		} `json:"image"`
	}
	err := s.ask(ctx, "query-named-block-nodes", object{"flat": true}, &all, nil)
	sizes := map[string]int64{}
	for _, n := range all {
		sizes[n.Name] = n.Image.Size
	}
	return sizes, err
}

// passed returns the files of a snapshot that QEMU was given: their paths by node,
// and their sets.
func (s *session) passed(ctx context.Context, name string) (paths map[string]string, sets map[string]int, err error) {
	var all []passed
	err = s.execute(ctx, "query-fdsets", &all)
	paths, sets = map[string]string{}, map[string]int{}
	for _, p := range all {
		for _, f := range p.Files {
			if part, quoted, ok := strings.Cut(f.Note, " "); ok && strings.HasPrefix(part, jobPrefix(name)) {
				paths[part], _ = strconv.Unquote(quoted)
				sets[part] = p.Set
			}
		}
	}
	return paths, sets, err
}

// unsettled returns the paths of targets that QEMU still has open.
func (s *session) unsettled(ctx context.Context, name string) (open []string, err error) {
	nodes, err := s.nodes(ctx)
	if err != nil {
		return nil, err
	}
	paths, _, err := s.passed(ctx, name)
	for part, path := range paths {
		if _, ok := nodes[part]; ok {
			open = append(open, path)
		}
	}
	return open, err
}

// settle makes the targets of complete jobs whole files. QEMU keeps tables in
// memory, and would lose errors of writing them when it closes an image; opening
// it again as it is writes them first and tells.
func (s *session) settle(ctx context.Context, name string) error {
	nodes, err := s.nodes(ctx)
	if err != nil {
		return err
	}
	_, sets, err := s.passed(ctx, name)
	if err != nil {
		return err
	}
	for part, set := range sets {
		if _, ok := nodes[part]; !ok {
			continue
		}
		if err := s.ask(ctx, "blockdev-reopen", object{"options": []object{target(part, set)}}, nil, nil); err != nil {
			return err
		}
		if err := s.ask(ctx, "blockdev-del", object{"node-name": part}, nil, nil); err != nil {
			return err
		}
	}
	return nil
}

// forgetJob stops the jobs of a snapshot and removes all that QEMU has of it.
func (s *session) forgetJob(ctx context.Context, name string) error {
	if err := s.stopJobs(ctx, name); err != nil {
		return err
	}
	nodes, err := s.nodes(ctx)
	if err != nil {
		return err
	}
	for node := range nodes {
		if strings.HasPrefix(node, jobPrefix(name)) {
			if err := s.ask(ctx, "blockdev-del", object{"node-name": node}, nil, nil); err != nil {
				return err
			}
		}
	}
	_, sets, err := s.passed(ctx, name)
	if err != nil {
		return err
	}
	for _, set := range sets {
		if err := s.ask(ctx, "remove-fd", object{"fdset-id": set}, nil, nil); err != nil {
			return err
		}
	}
	return nil
}

// stopJobs cancels what runs, waits for its end and dismisses it.
func (s *session) stopJobs(ctx context.Context, name string) error {
	ctx, cancel := s.m.h.bounded(ctx)
	defer cancel()
	look := time.NewTicker(jobLook)
	defer look.Stop()
	for told := false; ; told = true {
		jobs, err := s.jobs(ctx, name)
		if err != nil || len(jobs) == 0 {
			return err
		}
		for _, j := range jobs {
			command := "job-dismiss"
			if j.Status != "concluded" {
				command = "job-cancel"
				if told {
					continue
				}
			}
			// A refusal is of a job that went on by itself in between.
			err := s.ask(ctx, command, object{"id": j.ID}, nil, nil)
			if refused := (*qmp.Error)(nil); err != nil && !errors.As(err, &refused) {
				return err
			}
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return fmt.Errorf("job %s does not end: %w", name, ctx.Err())
		}
	}
}
