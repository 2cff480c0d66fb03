package api

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/shakenfist/cloud/sf/client"
	"github.com/shakenfist/cloud/sf/spec"
)

// How a reboot that does not succeed is answered.
func TestRebootEnds(t *testing.T) {
	t.Run("failed", func(t *testing.T) {
		c := withObjects(t)
		c.server.cloud.(*fakeCloud).broken = "the guest does not listen"
		w := c.ask("demo", "POST", "/instances/"+instanceOf(c)+"/rebootsoft", nil, "")
		if want := `{"error":"reboot: the guest does not listen","status":500,"class":"failed"}` + "\n"; w.Code != 500 || w.Body.String() != want {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
	t.Run("time is over", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := withObjects(t)
			c.server.cloud.(*fakeCloud).hold = true
			w := c.ask("demo", "POST", "/instances/"+instanceOf(c)+"/reboothard", nil, "")
			if w.Code != 504 || !strings.Contains(w.Body.String(), "is not rebooted after 10m0s; work on it goes on") {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
	})
	t.Run("async", func(t *testing.T) {
		c := withObjects(t)
		c.server.cloud.(*fakeCloud).hold = true
		w := c.ask("demo", "POST", "/instances/"+instanceOf(c)+"/reboothard?async=1", nil, "")
		if w.Code != 200 || !strings.Contains(w.Body.String(), `"kind":"reset"`) || !strings.Contains(w.Body.String(), `"state":"started"`) {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}

// A GET with a wait answers when there is something new, or when its time is over.
func TestLongPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := withObjects(t)
		f := c.server.cloud.(*fakeCloud)
		f.hold = true
		url := "/instances/" + instanceOf(c)
		start := f.instances[instanceOf(c)].Version
		for _, query := range []string{"?wait=20&version=other", "?version=" + start, "?wait=0&version=" + start} {
			if w := c.ask("demo", "GET", url+query, nil, ""); w.Code != 200 {
				t.Errorf("%s: %d %s", query, w.Code, w.Body)
			}
		}
		if w := c.ask("demo", "GET", url+"?wait=20&version="+start, nil, ""); w.Code != 200 || !strings.Contains(w.Body.String(), `"version":"`+start+`"`) {
			t.Errorf("nothing new: %d %s", w.Code, w.Body)
		}
		answer := make(chan string)
		go func() { answer <- c.ask("demo", "GET", url+"?wait=60&version="+start, nil, "").Body.String() }()
		synctest.Wait()
		f.SetPower(t.Context(), instanceOf(c), spec.PowerOff)
		f.changed.Broadcast()
		if s := <-answer; !strings.Contains(s, `"want":"off"`) {
			t.Errorf("news: %s", s)
		}
		for _, bad := range []string{"?wait=-1", "?wait=1.5", "?wait=x"} {
			if w := c.ask("demo", "GET", url+bad, nil, ""); w.Code != 400 {
				t.Errorf("%s: %d %s", bad, w.Code, w.Body)
			}
		}
		network := strings.TrimPrefix(concrete(c, "/networks/{network_uuid}"), "/networks/")
		if w := c.ask("demo", "GET", "/networks/"+network+"?wait=5&version="+f.networks[network].Version, nil, ""); w.Code != 200 {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		f.faults["WaitInstance"] = spec.Errorf(spec.ErrNotFound, "forgotten")
		if w := c.ask("demo", "GET", url+"?wait=5&version="+f.instances[instanceOf(c)].Version, nil, ""); w.Code != 404 {
			t.Errorf("forgotten meanwhile: %d %s", w.Code, w.Body)
		}
	})
}

// The client follows an operation to its end, whatever that is.
func TestWaitOperation(t *testing.T) {
	c, f, cl := overHTTP(t, "demo")
	ctx := deadline(t)
	f.CreateInstance(ctx, "demo", spec.InstanceSpec{Name: "vm", Disks: []spec.Disk{{SizeGB: 1}}})
	id := instanceOf(c)
	f.hold = true
	op, err := cl.Reboot(ctx, id, true)
	if err != nil || op.Kind != spec.OpReset || op.Status.State != spec.OperationStarted {
		t.Fatalf("%+v, %v", op, err)
	}
	var seen []string
	op, err = cl.WaitOperation(ctx, op, func(op *spec.Operation) {
		seen = append(seen, string(op.Status.State))
		f.proceed(func(op *spec.Operation) { op.Status.State = spec.OperationDone })
	})
	if err != nil || op.Status.State != spec.OperationDone || strings.Join(seen, " ") != "started done" {
		t.Errorf("%+v, %v, seen %v", op, err, seen)
	}
	if op, err = cl.Reboot(ctx, id, false); err != nil {
		t.Fatal(err)
	}
	f.proceed(func(op *spec.Operation) {
		op.Status.State, op.Status.Error = spec.OperationInterrupted, "the daemon was killed"
	})
	if _, err = cl.WaitOperation(ctx, op, nil); !errors.Is(err, spec.ErrFailed) || err.Error() != "reboot: the daemon was killed" {
		t.Errorf("interrupted: %v", err)
	}
	if op, err = cl.Reboot(ctx, id, false); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithCancel(ctx)
	_, err = cl.WaitOperation(short, op, func(*spec.Operation) { cancel() })
	if !errors.Is(err, spec.ErrTimeout) || !strings.HasPrefix(err.Error(), "reboot is still started") {
		t.Errorf("out of time: %v", err)
	}
	f.hold = false
	if op, err = cl.Sync().Reboot(ctx, id, true); err != nil || !op.Status.State.Ended() {
		t.Errorf("%+v, %v", op, err)
	}
	ops, err := cl.Operations(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	same(t, ops, f.operations)
}

// A wait over HTTP takes as many requests as there is news.
func TestWaitsAreFew(t *testing.T) {
	c, f, _ := overHTTP(t, "demo")
	h := counted(t, c.server)
	cl := dialClient(t, h.URL, "demo")
	ctx := deadline(t)
	f.hold = true
	i, err := cl.CreateInstance(ctx, "", spec.InstanceSpec{Name: "vm", CPUs: 1, MemoryMiB: 64, Disks: []spec.Disk{{SizeGB: 1}}})
	if err != nil {
		t.Fatal(err)
	}
	before := h.requests.Load()
	looks := 0
	_, err = cl.WaitInstance(ctx, i.UUID, func(i *spec.Instance) (bool, error) {
		if looks++; looks == 1 {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.instances[i.UUID].Status.State, f.instances[i.UUID].Version = spec.StateCreated, "2"
			f.changed.Broadcast()
		}
		return client.InstanceCreated(i)
	})
	if n := h.requests.Load() - before; err != nil || looks != 2 || n != 2 {
		t.Errorf("%d looks, %d requests, %v", looks, n, err)
	}
	f.hold = false
	before = h.requests.Load()
	if _, err := cl.Sync().CreateInstance(ctx, "", spec.InstanceSpec{Name: "vm", CPUs: 1, MemoryMiB: 64, Disks: []spec.Disk{{SizeGB: 1}}}); err != nil {
		t.Fatal(err)
	}
	if err := cl.Sync().DeleteInstance(ctx, i.UUID); err != nil {
		t.Fatal(err)
	}
	if n := h.requests.Load() - before; n != 2 {
		t.Errorf("a create and a delete that the server waits for took %d requests", n)
	}
}
