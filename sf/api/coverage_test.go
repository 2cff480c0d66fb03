package api

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/shakenfist/cloud/sf/client"
	"github.com/shakenfist/cloud/sf/spec"
)

// Routes that a Go program has no use for, and what it uses instead.
var synonyms = map[string]string{
	"GET /{$}":          "GET /healthz",
	"GET /openapi.json": "this package",
	"POST /auth/namespaces/{namespace}/metadata": "PUT",
	"POST /networks/{network_uuid}/metadata":     "PUT",
	"POST /instances/{instance_uuid}/metadata":   "PUT",
	"POST /instances/{instance_uuid}/reboot":     "POST …/rebootsoft",
}

// asked notes which routes are asked for.
type asked struct {
	*server
	mux    *http.ServeMux
	mu     sync.Mutex
	routes map[string]bool
}

func (a *asked) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, pattern := a.mux.Handler(r)
	a.mu.Lock()
	a.routes[pattern] = true
	a.mu.Unlock()
	a.server.ServeHTTP(w, r)
}

// TestClientCoversTheAPI makes every call that the client has, once, and checks that
// there is no route that it has no call for.
func TestClientCoversTheAPI(t *testing.T) {
	c := withObjects(t)
	a := &asked{server: c.server, mux: http.NewServeMux(), routes: map[string]bool{}}
	for _, rt := range routes() {
		a.mux.HandleFunc(rt.method+" "+rt.pattern, func(http.ResponseWriter, *http.Request) {})
	}
	h := httptest.NewServer(a)
	defer h.Close()
	everyCall(t, dialClient(t, h.URL, "system"), c.server.cloud.(*fakeCloud))
	for _, rt := range routes() {
		route := rt.method + " " + rt.pattern
		if _, other := synonyms[route]; !a.routes[route] && !other {
			t.Errorf("the client never asks %s", route)
		}
	}
}

// everyCall makes every call. Whether it succeeds is for other tests.
func everyCall(t *testing.T, cl *client.Client, f *fakeCloud) {
	ctx := deadline(t)
	id := func(url string) string { // of the object that there is
		url = concrete(&conversation{server: &server{cloud: f}}, url)
		return url[strings.LastIndex(url, "/")+1:]
	}
	vm, net, nic, snapshot := id("/{instance_uuid}"), id("/{network_uuid}"), id("/{interface_uuid}"), id("/{snapshot_uuid}")
	cl.Healthy(ctx)
	cl.Metrics(ctx)
	for range cl.FollowEvents(ctx, spec.FollowOptions{Kind: spec.KindNetwork, Object: "none"}) {
	}
	cl.Namespaces(ctx)
	cl.CreateNamespace(ctx, "new")
	cl.Keys(ctx, "new")
	cl.SetKey(ctx, "new", "k", "secret")
	cl.ReplaceKey(ctx, "new", "k", "other")
	cl.DeleteKey(ctx, "new", "k")
	for kind, id := range map[spec.Kind]string{spec.KindNamespace: "new", spec.KindNetwork: net, spec.KindInstance: vm} {
		cl.SetMetadata(ctx, kind, id, "a", "b")
		cl.Metadata(ctx, kind, id)
		cl.DeleteMetadata(ctx, kind, id, "a")
	}
	cl.DeleteNamespace(ctx, "new")
	cl.Networks(ctx, true)
	cl.CreateNetwork(ctx, "demo", spec.NetworkSpec{Netblock: "10.1.0.0/24"})
	cl.Network(ctx, net)
	cl.Events(ctx, spec.KindNetwork, net)
	cl.NetworkInterfaces(ctx, net)
	cl.Instances(ctx, true)
	cl.InstancePage(ctx, client.Page{Limit: 1})
	cl.NetworkPage(ctx, client.Page{Limit: 1})
	cl.SnapshotPage(ctx, client.Page{Limit: 1})
	cl.CreateInstance(ctx, "demo", spec.InstanceSpec{Name: "other", CPUs: 1, MemoryMiB: 64, Disks: []spec.Disk{{SizeGB: 1}}})
	cl.Instance(ctx, vm)
	cl.Events(ctx, spec.KindInstance, vm)
	cl.InstanceInterfaces(ctx, vm)
	for _, power := range []spec.PowerState{spec.PowerOff, spec.PowerOn, spec.PowerPaused} {
		cl.SetPower(ctx, vm, power)
	}
	cl.Unpause(ctx, vm)
	op, _ := cl.Reboot(ctx, vm, false)
	cl.Reboot(ctx, vm, true)
	cl.Operations(ctx, vm)
	if op != nil {
		cl.Operation(ctx, vm, op.ID)
	}
	cl.ConsoleLog(ctx, vm, 10)
	cl.Console(ctx, vm)
	cl.Display(ctx, vm)
	cl.RecoverInstance(ctx, vm, true)
	cl.Interface(ctx, nic)
	cl.Float(ctx, nic)
	cl.Defloat(ctx, nic)
	cl.Snapshot(ctx, vm, true)
	cl.InstanceSnapshots(ctx, vm)
	cl.Snapshots(ctx)
	cl.SnapshotByID(ctx, snapshot)
	cl.OpenSnapshot(ctx, snapshot, "vda", 0)
	cl.DeleteSnapshot(ctx, snapshot)
	cl.CacheImage(ctx, "cirros", nil)
	cl.Images(ctx)
	cl.Image(ctx, "sha256-2")
	cl.DeleteImage(ctx, "sha256-2")
	cl.Nodes(ctx)
	cl.CordonNode(ctx, "node1")
	cl.UncordonNode(ctx, "node1")
	cl.DrainNode(ctx, "node1", client.DrainOptions{})
	cl.RemoveNode(ctx, "node1")
	cl.DeleteInstance(ctx, vm)
	cl.DeleteNetwork(ctx, net)
	cl.DeleteInstances(ctx, "demo")
	cl.DeleteNetworks(ctx, "demo")
}
