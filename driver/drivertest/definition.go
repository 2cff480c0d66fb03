package drivertest

import (
	"context"
	"testing"

	"github.com/shakenfist/cloud/driver"
)

const nobody = "ffffffff-ffff-4fff-bfff-ffffffffffff"

var definitionRules = []rule{
	// Info says what the driver can make, and at least something.
	{name: "Info", test: func(s *suite) {
		i, err := s.h.Info(s.ctx)
		s.must(err)
		if i.Driver == "" || i.Accel == "" || i.AccelReason == "" || i.CPUs < 1 || i.MemoryMiB < 1 ||
			len(i.Buses) == 0 || len(i.NICModels) == 0 || len(i.VideoModels) == 0 {
			s.Errorf("incomplete: %+v", i)
		}
	}},

	// A created machine is Defined, off, and listed.
	{name: "Create", test: func(s *suite) {
		id := s.created(1)
		st := s.is(id, driver.Defined)
		if st.ID != id || st.PID != 0 || st.Boot != 0 {
			s.Errorf("a new machine is %+v", st)
		}
		list, err := s.h.List(s.ctx)
		s.must(err)
		if len(list) != 1 || list[0].ID != id || list[0].State != driver.Defined {
			s.Errorf("list is %+v", list)
		}
	}},

	// The same Spec again is nil, in whatever state the machine is.
	{name: "CreateSame", test: func(s *suite) {
		id := s.created(1)
		s.must(s.h.Create(s.ctx, s.cfg.Spec(s.T, s.h, 1)))
		s.must(s.h.Start(s.ctx, id))
		s.must(s.h.Create(s.ctx, s.cfg.Spec(s.T, s.h, 1)))
		s.is(id, driver.Running)
	}},

	// A different Spec under the same ID is ErrExists and changes nothing.
	{name: "CreateDifferent", test: func(s *suite) {
		s.created(1)
		for name, change := range map[string]func(*driver.Spec){
			"Name":      func(d *driver.Spec) { d.Name += "x" },
			"CPUs":      func(d *driver.Spec) { d.CPUs++ },
			"MemoryMiB": func(d *driver.Spec) { d.MemoryMiB++ },
			"Dir":       func(d *driver.Spec) { d.Dir += "x" },
			"Disks":     func(d *driver.Spec) { d.Disks = nil },
		} {
			d := s.cfg.Spec(s.T, s.h, 1)
			if name == "Disks" && len(d.Disks) == 0 {
				continue
			}
			change(&d)
			s.fails("another "+name, s.h.Create(s.ctx, d), driver.ErrExists)
		}
		s.must(s.h.Create(s.ctx, s.cfg.Spec(s.T, s.h, 1)))
	}},

	// The caller may change its Spec afterwards: the driver has its own copy.
	{name: "CreateCopies", test: func(s *suite) {
		d := s.cfg.Spec(s.T, s.h, 1)
		if len(d.Disks) == 0 {
			s.Skip("no disks")
		}
		s.must(s.h.Create(s.ctx, d))
		d.Disks[0].Path = "/elsewhere"
		s.must(s.h.Create(s.ctx, s.cfg.Spec(s.T, s.h, 1)))
	}},

	// What cannot be made is ErrInvalid, and no machine.
	{name: "CreateInvalid", test: func(s *suite) {
		for name, change := range map[string]func(*driver.Spec){
			"ID":        func(d *driver.Spec) { d.ID = "../1" },
			"CPUs":      func(d *driver.Spec) { d.CPUs = 0 },
			"MemoryMiB": func(d *driver.Spec) { d.MemoryMiB = 0 },
			"Video":     func(d *driver.Spec) { d.Video.Model = "crayon" },
			"Bus": func(d *driver.Spec) {
				d.Disks = []driver.Disk{{Device: "xda", Path: "/x", Format: "raw", Bus: "tape"}}
			},
			"Format": func(d *driver.Spec) {
				d.Disks = []driver.Disk{{Device: "xda", Path: "/x", Format: "", Bus: "virtio"}}
			},
			"NIC": func(d *driver.Spec) {
				d.NICs = []driver.NIC{{Tap: "x", MAC: "02:00:00:00:00:01", Model: "carrier-pigeon"}}
			},
		} {
			d := s.cfg.Spec(s.T, s.h, 1)
			change(&d)
			s.fails("a bad "+name, s.h.Create(s.ctx, d), driver.ErrInvalid)
		}
		list, err := s.h.List(s.ctx)
		if err != nil || len(list) != 0 {
			s.Errorf("list is %+v, %v", list, err)
		}
	}},

	// What does not exist is ErrNotFound, but for Destroy, which is nil.
	{name: "NotFound", test: func(s *suite) {
		s.fails("Start", s.h.Start(s.ctx, nobody), driver.ErrNotFound)
		s.fails("Stop", s.h.Stop(s.ctx, nobody, driver.Force), driver.ErrNotFound)
		s.fails("graceful Stop", s.h.Stop(s.ctx, nobody, driver.Graceful), driver.ErrNotFound)
		_, err := s.h.Inspect(s.ctx, nobody)
		s.fails("Inspect", err, driver.ErrNotFound)
		s.must(s.h.Destroy(s.ctx, nobody))
		if p, ok := driver.As[driver.Pauser](s.h); ok {
			s.fails("Pause", p.Pause(s.ctx, nobody), driver.ErrNotFound)
			s.fails("Resume", p.Resume(s.ctx, nobody), driver.ErrNotFound)
		}
		if r, ok := driver.As[driver.Resetter](s.h); ok {
			s.fails("Reset", r.Reset(s.ctx, nobody), driver.ErrNotFound)
		}
		if r, ok := driver.As[driver.Rebooter](s.h); ok {
			s.fails("Reboot", r.Reboot(s.ctx, nobody), driver.ErrNotFound)
		}
		if c, ok := driver.As[driver.Consoler](s.h); ok {
			_, err := c.Console(s.ctx, nobody)
			s.fails("Console", err, driver.ErrNotFound)
			_, _, err = c.ConsoleLog(s.ctx, nobody, 0, make([]byte, 1))
			s.fails("ConsoleLog", err, driver.ErrNotFound)
		}
	}},

	// Destroy forgets a machine in every state, twice is nil, and its ID is free
	// for a different machine.
	{name: "Destroy", test: func(s *suite) {
		for name, get := range statesToDestroy {
			s.Run(name, func(t *testing.T) {
				sub := &suite{T: t, cfg: s.cfg, h: s.h, ctx: s.ctx}
				id := get(sub)
				sub.must(sub.h.Destroy(sub.ctx, id))
				_, err := sub.h.Inspect(sub.ctx, id)
				sub.fails("Inspect of the destroyed", err, driver.ErrNotFound)
				sub.must(sub.h.Destroy(sub.ctx, id))
				list, err := sub.h.List(sub.ctx)
				if err != nil || len(list) != 0 {
					t.Errorf("list is %+v, %v", list, err)
				}
				d := sub.cfg.Spec(t, sub.h, 1)
				d.Name += "-2"
				sub.must(sub.h.Create(sub.ctx, d))
				sub.must(sub.h.Start(sub.ctx, id))
				if st := sub.is(id, driver.Running); st.Boot != 1 {
					t.Errorf("a new machine under an old ID starts at boot %d", st.Boot)
				}
				sub.must(sub.h.Destroy(sub.ctx, id))
			})
		}
	}},

	// A context that is done does nothing.
	{name: "Cancelled", test: func(s *suite) {
		done, cancel := context.WithCancel(s.ctx)
		cancel()
		s.fails("Create", s.h.Create(done, s.cfg.Spec(s.T, s.h, 1)), context.Canceled)
		id := s.created(1)
		s.fails("Start", s.h.Start(done, id), context.Canceled)
		s.is(id, driver.Defined)
	}},
}

// statesToDestroy makes machine 1 in each state that can be had.
var statesToDestroy = map[string]func(*suite) string{
	"defined": func(s *suite) string { return s.created(1) },
	"running": func(s *suite) string { return s.started(1) },
	"stopped": func(s *suite) string {
		id := s.started(1)
		s.must(s.h.Stop(s.ctx, id, driver.Force))
		return id
	},
	"paused": func(s *suite) string {
		id := s.started(1)
		s.must(ability[driver.Pauser](s).Pause(s.ctx, id))
		return id
	},
	"crashed": func(s *suite) string {
		id := s.started(1)
		s.crash(id)
		s.becomes(id, driver.Crashed)
		return id
	},
	"hung": func(s *suite) string {
		id := s.started(1)
		s.hang(id)
		return id
	},
}
