package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/fake"
	netfake "github.com/shakenfist/cloud/netfab/fake"
	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/sftest"
	"github.com/shakenfist/cloud/sf/sftest/need"
	"github.com/shakenfist/cloud/sf/spec"
	"github.com/shakenfist/cloud/store"
	"github.com/shakenfist/cloud/store/archive"
	"github.com/shakenfist/cloud/store/etcd"
	"github.com/shakenfist/cloud/store/memory"
)

// startMember starts an etcd of one member that ends with the test, and returns its endpoint.
func startMember(t testing.TB) string {
	t.Helper()
	program := need.Program(t, "etcd", "etcd-server")
	for range 5 {
		var urls []string
		for range 2 {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			urls = append(urls, "http://"+l.Addr().String())
			l.Close()
		}
		cmd := exec.Command(program, "--name", "m", "--data-dir", t.TempDir(), "--initial-cluster", "m="+urls[1],
			"--listen-client-urls", urls[0], "--advertise-client-urls", urls[0],
			"--listen-peer-urls", urls[1], "--initial-advertise-peer-urls", urls[1], "--log-level", "error")
		cmd.Env = []string{"PATH=/usr/bin:/bin"}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			cmd.Process.Kill()
			cmd.Wait()
		})
		s, err := etcd.Open(t.Context(), etcd.Config{Endpoints: urls[:1]})
		if err == nil {
			s.Close()
			return urls[0]
		}
		t.Log(err) // perhaps somebody else was quicker to use a port
	}
	t.Fatal("etcd does not start")
	return ""
}

// openOptions opens the store that options name.
func openOptions(t testing.TB, options ...string) store.Store {
	t.Helper()
	c, err := parse(options, nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := openStore(t.Context(), c, discard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// simulated is a host without substance that outlives the daemons over it.
type simulated struct {
	name    string
	machine *fake.Host
	fabric  *netfake.Host
}

func newSimulated(name string, memoryMiB int) *simulated {
	return &simulated{name, fake.NewHost(fake.Config{Info: driver.Info{MemoryMiB: memoryMiB}, Disk: 1 << 50}), netfake.NewHost()}
}

func (h *simulated) view() sftest.HostView {
	return sftest.HostView{Node: h.name, Hypervisor: h.machine.Hypervisor(), Volumes: h.machine.Volumes(),
		Fabric: netfake.New(netfake.Config{Host: h.fabric, Tag: "test/" + h.name})}
}

// serve runs the host as a node of the cloud in s.
func (h *simulated) serve(t testing.TB, s store.Store) *sf.Cloud {
	t.Helper()
	v := h.view()
	cloud, err := sf.Open(t.Context(), sf.Config{Store: s, Node: &sf.NodeConfig{
		Name: h.name, Hypervisor: v.Hypervisor, Volumes: v.Volumes, Fabric: v.Fabric,
		MemoryOvercommit: 1, ReservedMemoryMiB: -1, CPUOvercommit: 1e6, MaxInstances: 1e6, // memory is what runs out
	}})
	if err != nil {
		t.Fatal(err)
	}
	return cloud
}

// invoke runs a command of sfd's.
func invoke(t testing.TB, args ...string) (status int, said string) {
	t.Helper()
	var out bytes.Buffer
	status = Main(t.Context(), args, nil, &out, &out)
	return status, out.String()
}

func must(t testing.TB, args ...string) {
	t.Helper()
	if status, said := invoke(t, args...); status != 0 {
		t.Fatalf("sfd %s: %d: %s", strings.Join(args, " "), status, said)
	}
}

func create(t testing.TB, ctx context.Context, cloud *sf.Cloud, name, network string) *sf.Instance {
	t.Helper()
	i, err := cloud.CreateInstance(ctx, sf.System, sf.InstanceSpec{
		Name: name, CPUs: 1, MemoryMiB: 256, Disks: []sf.Disk{{SizeGB: 1}}, Interfaces: []sf.InterfaceSpec{{Network: network}},
	})
	if err == nil {
		i, err = cloud.WaitInstance(ctx, i.UUID, sf.InstanceCreated)
	}
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// A cloud on a data directory is backed up while it runs, moves to etcd, where it runs
// on with the same machines, and back from there.
func TestBackupMovesCloud(t *testing.T) {
	endpoint, ctx := startMember(t), sftest.Context(t)
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 30)) // too long for a socket's path
	local := []string{"--data-dir", dir}
	remote := []string{"--etcd-endpoints", endpoint, "--etcd-prefix", "/cloud/", "--node-ip", "10.9.8.7", "--data-dir", t.TempDir()}
	files := t.TempDir()
	one, two, three := filepath.Join(files, "one"), filepath.Join(files, "two"), filepath.Join(files, "three")

	c, err := parse(local, nil)
	if err != nil {
		t.Fatal(err)
	}
	lock, err := lockDir(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	s := openOptions(t, local...)
	host := newSimulated("a", 32<<10)
	cloud := host.serve(t, s)
	stop, err := serveAdmin(c, &admin{store: s, cloud: cloud, log: discard})
	if err != nil {
		t.Fatal(err)
	}
	n, err := cloud.CreateNetwork(ctx, sf.System, sf.NetworkSpec{Name: "lan", Netblock: "10.0.0.0/24", DHCP: true})
	if err != nil {
		t.Fatal(err)
	}
	first := create(t, ctx, cloud, "first", n.UUID)
	// While it is at work.
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range 10 {
			cloud.CreateNetwork(ctx, sf.System, sf.NetworkSpec{Name: fmt.Sprint("later", i), Netblock: "10.1.0.0/24"})
		}
	})
	must(t, append([]string{"backup", one}, local...)...)
	wg.Wait()
	if status, said := invoke(t, append([]string{"backup", one}, local...)...); status != 1 || !strings.Contains(said, "exists already") {
		t.Errorf("over another backup: %d, %s", status, said)
	}
	if info, err := os.Stat(one); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	// And once it is stopped.
	id := cloud.ID()
	stop()
	if err := errors.Join(cloud.Close(), s.Close(), lock.Close()); err != nil {
		t.Fatal(err)
	}
	must(t, append([]string{"backup", two}, local...)...)
	must(t, append([]string{"restore", two}, remote...)...)
	if status, said := invoke(t, append([]string{"restore", one}, remote...)...); status != 1 || !strings.Contains(said, "not empty") {
		t.Errorf("over a cloud: %d, %s", status, said)
	}

	s = openOptions(t, remote...)
	cloud = host.serve(t, s)
	defer func() { cloud.Close() }()
	if cloud.ID() != id {
		t.Errorf("it is cloud %s now, and was %s", cloud.ID(), id)
	}
	second := create(t, ctx, cloud, "second", n.UUID)
	if err := cloud.DeleteInstance(ctx, second.UUID); err != nil {
		t.Fatal(err)
	}
	if _, err := cloud.WaitInstance(ctx, second.UUID, sf.InstanceGone); err != nil {
		t.Fatal(err)
	}
	machines, err := host.machine.Hypervisor().List(ctx)
	if err != nil || len(machines) != 1 || machines[0].ID != first.UUID {
		t.Errorf("%d machines, %v", len(machines), err)
	}
	if wrong, err := sftest.Invariants(ctx, s, []sftest.HostView{host.view()}, false); err != nil || len(wrong) > 0 {
		t.Errorf("%q, %v", wrong, err)
	}
	// From running on etcd back to a data directory.
	must(t, append([]string{"backup", three}, remote...)...)
	back := t.TempDir()
	must(t, "restore", three, "--data-dir", back)
	again, err := sf.Open(ctx, sf.Config{Store: openOptions(t, "--data-dir", back)})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if i, err := again.Instance(ctx, first.UUID); err != nil || again.ID() != id || i.Name != "first" {
		t.Errorf("%+v, %v", i, err)
	}
}

// The daemon itself hands out its records, and needs nobody's word to have them read
// once it was killed.
func TestBackupOfDaemon(t *testing.T) {
	l := newLab(t)
	l.start()
	if _, err := l.client.CreateNetwork(timeout(t), "", spec.NetworkSpec{Name: "kept", Netblock: "10.0.0.0/24"}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"running", "killed"} {
		path := filepath.Join(l.dir, name)
		cmd := exec.Command("/proc/self/exe", append([]string{"backup", path}, l.args()...)...)
		cmd.Env = append(os.Environ(), asDaemon+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", name, err, out)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		h, _, err := archive.Verify(bytes.NewReader(data))
		if err != nil || len(h.Cloud) != 36 || !bytes.Contains(data, []byte("sf/network/")) {
			t.Errorf("%s: %+v, %v", name, h, err)
		}
		if name == "running" {
			l.kill()
		}
	}
}

// What is no whole backup is refused before anything is made.
func TestRestoreRefuses(t *testing.T) {
	from, files := t.TempDir(), t.TempDir()
	kept := openOptions(t, "--data-dir", from)
	if _, err := sf.Open(t.Context(), sf.Config{Store: kept}); err != nil {
		t.Fatal(err)
	}
	var whole bytes.Buffer
	if _, err := archive.Write(t.Context(), &whole, kept, archive.Header{Cloud: "c"}); err != nil {
		t.Fatal(err)
	}
	good, data := filepath.Join(files, "good"), whole.Bytes()
	if err := os.WriteFile(good, data, 0o600); err != nil {
		t.Fatal(err)
	}
	bad := filepath.Join(files, "bad")
	for _, tc := range []struct {
		name, want string
		data       []byte
	}{
		{"truncated", "breaks off", data[:len(data)-20]},
		{"changed", "checksum", bytes.Replace(data, []byte(`"cloud":"c"`), []byte(`"cloud":"d"`), 1)},
		{"something else", "no archive", []byte("hello\n")},
	} {
		if err := os.WriteFile(bad, tc.data, 0o600); err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(t.TempDir(), "new")
		status, said := invoke(t, "restore", bad, "--data-dir", to)
		if status != 1 || !strings.Contains(said, tc.want) {
			t.Errorf("%s: %d, %s", tc.name, status, said)
		}
		if _, err := os.Stat(to); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: something was made: %v", tc.name, err)
		}
	}
	mine := t.TempDir()
	if err := os.WriteFile(filepath.Join(mine, identityName), []byte(`{"cloud":"other","node":"n"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for args, want := range map[[3]string]string{
		{"restore", good, mine}:                          "belong to cloud other",
		{"restore", filepath.Join(files, "none"), mine}:  "no such file",
		{"backup", filepath.Join(files, "new"), mine}:    "no cloud's records",
		{"backup", filepath.Join(files, "no/dir"), from}: "no such file",
		{"restore", good, from}:                          "records",
	} {
		if status, said := invoke(t, args[0], args[1], "--data-dir", args[2]); status != 1 || !strings.Contains(said, want) {
			t.Errorf("%v: %d, %s", args, status, said)
		}
	}
	if status, said := invoke(t, "backup"); status != 2 || !strings.Contains(said, "needs FILE: sfd backup FILE [options]") {
		t.Errorf("%d, %s", status, said)
	}
}

// Turns to compact come once a retention, and go to one.
func TestCompactTurns(t *testing.T) {
	s := memory.New(memory.Config{})
	defer s.Close()
	ctx, start := t.Context(), time.Unix(1e9, 0)
	turn := func(after time.Duration) bool {
		t.Helper()
		did, err := compactTurn(ctx, s, time.Hour, start.Add(after))
		if err != nil {
			t.Fatal(err)
		}
		return did
	}
	old, err := s.Commit(ctx, store.Txn{Do: []store.Op{store.Put("k", nil)}})
	if err != nil {
		t.Fatal(err)
	}
	if turn(0) || turn(59*time.Minute) {
		t.Error("compacted too early")
	}
	kept, err := s.Commit(ctx, store.Txn{Do: []store.Op{store.Put("k", nil)}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.List(ctx, "", store.Page{At: old}); err != nil {
		t.Errorf("not compacted yet: %v", err)
	}
	var wg sync.WaitGroup
	dids := make([]bool, 3)
	for i := range dids {
		wg.Go(func() { dids[i], _ = compactTurn(ctx, s, time.Hour, start.Add(61*time.Minute)) })
	}
	wg.Wait()
	if n := len(slices.DeleteFunc(dids, func(d bool) bool { return !d })); n != 1 {
		t.Errorf("%d had the turn", n)
	}
	if _, err := s.List(ctx, "", store.Page{At: old}); !errors.Is(err, store.ErrCompacted) {
		t.Errorf("what was before the first turn is still held: %v", err)
	}
	if _, err := s.List(ctx, "", store.Page{At: kept}); err != nil {
		t.Errorf("what is younger than the retention is gone: %v", err)
	}
}

// Two daemons that start on an empty etcd at once make one cloud.
func TestFoundedOnce(t *testing.T) {
	endpoint := startMember(t)
	var wg sync.WaitGroup
	ids := make([]string, 6)
	for i := range ids {
		s := openOptions(t, "--etcd-endpoints", endpoint, "--node-ip", "10.9.8.7")
		wg.Go(func() {
			cloud, err := sf.Open(t.Context(), sf.Config{Store: s})
			if err != nil {
				t.Error(err)
				return
			}
			ids[i] = cloud.ID()
			cloud.Close()
		})
	}
	wg.Wait()
	if len(slices.Compact(ids)) != 1 {
		t.Errorf("%q", ids)
	}
}

// 200 creates at once through three processes fill four nodes to the last place: none
// fails while there is room, none is taken in where there is none.
func TestNeverOvercommitted(t *testing.T) {
	const each, nodes, heads = 50, 4, 3
	endpoint, ctx := startMember(t), sftest.Context(t)
	options := []string{"--etcd-endpoints", endpoint, "--node-ip", "10.9.8.7"}
	var views []sftest.HostView
	for i := range nodes {
		h := newSimulated(fmt.Sprint("n", i), each*256)
		cloud := h.serve(t, openOptions(t, options...))
		t.Cleanup(func() { cloud.Close() })
		views = append(views, h.view())
	}
	var clouds []*sf.Cloud
	for range heads {
		cloud, err := sf.Open(ctx, sf.Config{Store: openOptions(t, options...)})
		if err != nil {
			t.Fatal(err)
		}
		clouds = append(clouds, cloud)
	}
	waitNodes(t, ctx, clouds[0], nodes)
	want := sf.InstanceSpec{Name: "one", CPUs: 1, MemoryMiB: 256, Disks: []sf.Disk{{SizeGB: 1}}}
	var wg sync.WaitGroup
	for i := range each * nodes {
		wg.Go(func() {
			if _, err := clouds[i%heads].CreateInstance(ctx, sf.System, want); err != nil {
				t.Errorf("create %d, while there is room: %v", i, err)
			}
		})
	}
	wg.Wait()
	if _, err := clouds[0].CreateInstance(ctx, sf.System, want); !errors.Is(err, sf.ErrNoCapacity) {
		t.Errorf("one more: %v", err)
	}
	wrong, err := sftest.Invariants(ctx, openOptions(t, options...), views, false)
	if err != nil || len(wrong) > 0 {
		t.Errorf("%q, %v", wrong, err)
	}
}

// waitNodes waits until so many nodes have introduced themselves.
func waitNodes(t testing.TB, ctx context.Context, cloud *sf.Cloud, n int) {
	t.Helper()
	for {
		nodes, err := cloud.Nodes(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if len(nodes) == n {
			return
		}
		runtime.Gosched()
	}
}
