package api

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/shakenfist/cloud/driver/fake"
	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/sftest"
	"github.com/shakenfist/cloud/sf/spec"
)

// A wait that is over since the node is away says so, and of which node.
func TestOverdueForANodeThatIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cloud, ctx := sftest.NewWith(t, fake.Config{Now: time.Now}), t.Context()
		i, err := cloud.CreateInstance(ctx, sf.System, spec.InstanceSpec{Name: "vm", CPUs: 1, MemoryMiB: 64, Disks: []spec.Disk{{SizeGB: 1}}})
		if err == nil {
			_, err = cloud.WaitInstance(ctx, i.UUID, sf.InstanceCreated)
		}
		if err == nil {
			err = cloud.Cloud.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		head, err := sf.Open(ctx, sf.Config{Store: cloud.Store})
		if err != nil {
			t.Fatal(err)
		}
		c := converse(t, head)
		for _, tt := range []struct{ request, done string }{{"POST /instances/" + i.UUID + "/poweroff", "off"}, {"DELETE /instances/" + i.UUID, "deleted"}} {
			c.wants("system", tt.request, "", 504, "is not "+tt.done+" after 10m0s (it waits for node node1, which has been away since ")
		}
	})
}
