package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/shakenfist/cloud/driver/drivertest/guest"
	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/client"
	"github.com/shakenfist/cloud/sf/image/qcow2"
	"github.com/shakenfist/cloud/sf/sftest"
	"github.com/shakenfist/cloud/sf/sftest/need"
	"github.com/shakenfist/cloud/sf/spec"
	"github.com/shakenfist/cloud/sf/v02"
	"github.com/shakenfist/cloud/store"
	"github.com/shakenfist/cloud/store/etcd"
)

// What a Shaken Fist 0.2 holds.
const (
	oldNet    = "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa"
	oldVM     = "11111111-1111-4111-8111-111111111111"
	oldTwin   = "22222222-2222-4222-8222-222222222222" // has the other's address
	oldTaken  = "33333333-3333-4333-8333-333333333333" // whose UUID another has here
	oldNIC    = "f1111111-ffff-4fff-8fff-ffffffffffff"
	oldTwins  = "f2222222-ffff-4fff-8fff-ffffffffffff"
	oldSecret = "an old secret"
)

// oldRecords are its records, as that writes them.
func oldRecords(t testing.TB) map[string]any {
	hash, err := bcrypt.GenerateFromPassword([]byte(oldSecret), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	type o = map[string]any
	key := base64.StdEncoding.EncodeToString(hash)
	instance := func(id, name string) o {
		return o{"uuid": id, "name": name, "cpus": 1, "memory": 160, "disk_spec": []any{o{"size": "8", "base": "http://gone.invalid/image", "bus": nil, "type": "disk"}},
			"ssh_key": sshKey, "node": "sf-2", "console_port": 31839, "vdi_port": 34442, "user_data": base64.StdEncoding.EncodeToString([]byte(userData)),
			"block_devices": o{"finalized": true, "devices": []any{
				o{"type": "qcow2", "size": 8, "device": "vda", "bus": "virtio", "present_as": "disk"}, o{"type": "raw", "device": "vdb", "bus": "virtio", "present_as": "disk"}}},
			"state": "created", "state_updated": 1601091240.1, "namespace": "demo", "power_state": "on", "video": o{"model": "cirrus", "memory": 16384}}
	}
	nic := func(id, vm, mac string) o {
		return o{"uuid": id, "network_uuid": oldNet, "instance_uuid": vm, "macaddr": mac, "ipv4": "10.0.0.9", "order": 0,
			"floating": nil, "state": "created", "state_updated": 1601091239.9, "model": "virtio"}
	}
	first := nic(oldNIC, oldVM, "00:00:00:a8:58:f9")
	first["floating"] = "192.168.77.9"
	return o{
		"namespace/system": o{"name": "system", "keys": o{"deploy": key}, "service_key": "plain"}, "namespace/demo": o{"name": "demo", "keys": o{"deploy": key}},
		"network/floating": o{"uuid": "floating", "vxid": 0, "netblock": "192.168.77.0/24", "provide_dhcp": false, "provide_nat": false, "namespace": nil,
			"floating_gateway": nil, "name": "floating", "state": "initial", "state_updated": 1.5},
		"network/" + oldNet: o{"uuid": oldNet, "vxid": 7, "netblock": "10.0.0.0/24", "provide_dhcp": true, "provide_nat": true, "namespace": "demo",
			"floating_gateway": "192.168.77.50", "name": "lan", "state": "created", "state_updated": 1.5},
		"instance/" + oldVM: instance(oldVM, "vm1"), "instance/" + oldTwin: instance(oldTwin, "twin"),
		"networkinterface/" + oldNIC: first, "networkinterface/" + oldTwins: nic(oldTwins, oldTwin, "00:00:00:a8:58:fa"),
		"metadata/instance/" + oldVM: o{"owner": "me"}, "metadata/network/" + oldNet: o{"site": "here"}, "metadata/namespace/demo": o{"cost": "centre"},
		"event/instance/" + oldVM + "/1601091240.1": o{"timestamp": 1601091240.1, "operation": "api"},
		"node/sf-2": o{"fqdn": "sf-2", "ip": "10.0.0.12", "lastseen": 1601091234.5, "version": "0.2.6"},
	}
}

// fillOld puts records into an etcd.
func fillOld(t testing.TB, endpoint string, records map[string]any) {
	t.Helper()
	s, err := etcd.Open(t.Context(), etcd.Config{Endpoints: []string{endpoint}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for key, value := range records {
		text, err := json.MarshalIndent(value, "", "    ")
		if err == nil {
			_, err = s.Commit(t.Context(), store.Txn{Do: []store.Op{store.Put("/sf/"+key, text)}})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// says holds what an import says, as status and parts of lines.
func says(t testing.TB, want int, args []string, parts ...string) string {
	t.Helper()
	status, said := invoke(t, append([]string{"import"}, args...)...)
	if status != want {
		t.Errorf("sfd import %s: %d: %s", strings.Join(args, " "), status, said)
	}
	for _, part := range parts {
		if !strings.Contains(said, part) {
			t.Errorf("sfd import %s: nothing of %q in %s", strings.Join(args, " "), part, said)
		}
	}
	return said
}

// oldStorage is the storage of a node of the original's: the disk of oldVM lies over an
// image of its cache, without saying of which format that is.
func oldStorage(t testing.TB, image string) (dir, disk string) {
	t.Helper()
	dir = t.TempDir()
	disk = filepath.Join(dir, "instances", oldVM, "vda.qcow2")
	base := filepath.Join(dir, oldImages, "f0e6a6.v001.qcow2.8G")
	for _, d := range []string{filepath.Dir(disk), filepath.Dir(base)} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(image)
	if err == nil {
		err = os.WriteFile(base, data, 0o644)
	}
	// The original names the image as its nodes have it, not as it is mounted here.
	if err == nil {
		err = qcow2.Create(disk, qcow2.Options{Size: 8 << 30, BackingFile: "/srv/shakenfist/image_cache/f0e6a6.v001.qcow2.8G", BackingFormat: "qcow2"})
	}
	if err == nil {
		data, err = os.ReadFile(disk)
	}
	if err == nil {
		data = bytes.Replace(data, []byte{0xe2, 0x79, 0x2a, 0xca}, []byte{0x12, 0x34, 0x56, 0x78}, 1) // the format's extension
		err = os.WriteFile(disk, data, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir, disk
}

// The records of a Shaken Fist 0.2 in a real etcd become a cloud that sfd runs: it lists
// everything, lets old keys in, and boots an instance from its old disk.
func TestImport(t *testing.T) {
	l := newLab(t)
	ctx := timeout(t)
	endpoint := startMember(t)
	fillOld(t, endpoint, oldRecords(t))
	storage, disk := oldStorage(t, guest.Image(t))
	data := filepath.Join(l.dir, "data")
	args := []string{"--from", endpoint, "--data-dir", data, "--disks", storage}

	says(t, 1, args, "Nothing is changed", "import  namespace  demo: key deploy, metadata cost", "import  network    floating: 192.168.77.0/24",
		"import  network    "+oldNet+" lan: 10.0.0.0/24", "import  instance   "+oldVM+" vm1: on node ", ", with its disks, off",
		"refuse  instance   "+oldTwin+" twin: its interface "+oldTwins+": its address 10.0.0.9 is interface "+oldNIC+"'s too", "note    namespace  system: its service key", "note    namespace  system: its key deploy is called deploy-0.2 here")
	if _, err := os.Stat(data); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("a dry run made something: %v", err)
	}
	writer, err := os.OpenFile(disk, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	says(t, 1, args, "note    instance   "+oldVM+" vm1: somebody writes to "+disk)
	says(t, 1, append(args, "--apply"), "refuse  instance   "+oldVM+" vm1: its disks: somebody writes to "+disk)
	writer.Close()
	done := append(args, "--apply", "--start")
	says(t, 1, done, "import  instance   "+oldVM, "keep    network    "+oldNet)
	if said := says(t, 1, done, "keep    instance   "+oldVM, "keep    network    "+oldNet, "keep    namespace  demo"); strings.Contains(said, "import ") {
		t.Errorf("imported twice: %s", said)
	}

	l.start()
	if status, said := invoke(t, append([]string{"import"}, done...)...); status != 1 || !strings.Contains(said, "another sfd") {
		t.Errorf("beside a running sfd: %d, %s", status, said)
	}
	says(t, 1, args, "keep    instance   "+oldVM) // which a dry run may
	l.imported(ctx, "demo")
	l.imported(ctx, "system")
	l.booted(ctx, oldVM)
	if i, err := l.client.Instance(ctx, oldVM); err != nil || i.Status.Power != spec.PowerOn {
		t.Errorf("%+v, %v", i, err)
	}
}

// imported looks at everything through the API, logged in by a key of the original's.
func (l *lab) imported(ctx context.Context, namespace string) {
	l.Helper()
	cfg, err := client.ReadFile(filepath.Join(l.dir, "client.json"))
	if err != nil {
		l.Fatal(err)
	}
	cfg.Namespace, cfg.Key = namespace, oldSecret
	cfg.HTTP = &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) { return dial(ctx, l.machine, address) },
	}}
	c, err := client.New(cfg)
	if err != nil {
		l.Fatal(err)
	}
	networks, err := c.Networks(ctx, false)
	if err != nil || len(networks) != 1 || networks[0].UUID != oldNet || networks[0].VNI != 7 || networks[0].Gateway.String() != "192.168.77.50" || !networks[0].DHCP {
		l.Errorf("%+v, %v", networks, err)
	}
	instances, err := c.Instances(ctx, false)
	if err != nil || len(instances) != 1 || instances[0].UUID != oldVM || instances[0].Name != "vm1" || instances[0].SSHKey != sshKey || instances[0].Namespace != "demo" {
		l.Fatalf("%+v, %v", instances, err)
	}
	if d := instances[0].Disks; len(d) != 1 || d[0] != (spec.Disk{SizeGB: 8, Base: "http://gone.invalid/image", Type: "disk"}) {
		l.Errorf("%+v", d)
	}
	nics, err := c.InstanceInterfaces(ctx, oldVM)
	if err != nil || len(nics) != 1 || nics[0].UUID != oldNIC || nics[0].MAC != "00:00:00:a8:58:f9" || nics[0].Address.String() != "10.0.0.9" || nics[0].Floating.String() != "192.168.77.9" {
		l.Errorf("%+v, %v", nics, err)
	}
	if m, err := c.Metadata(ctx, spec.KindInstance, oldVM); err != nil || m["owner"] != "me" {
		l.Errorf("%v, %v", m, err)
	}
	if m, err := c.Metadata(ctx, spec.KindNetwork, oldNet); err != nil || m["site"] != "here" {
		l.Errorf("%v, %v", m, err)
	}
	if u, err := c.UserData(ctx, oldVM); err != nil || string(u) != userData {
		l.Errorf("%q, %v", u, err)
	}
}

// An import into etcd, beside other objects: what is taken there is refused or, where
// that is asked for, numbered anew, and every instance goes where it is told to.
func TestImportConflicts(t *testing.T) {
	endpoint, ctx := startMember(t), sftest.Context(t)
	old := oldRecords(t)
	taken := maps.Clone(old["instance/"+oldVM].(map[string]any))
	taken["uuid"] = oldTaken
	old["instance/"+oldTaken] = taken
	fillOld(t, endpoint, old)
	to := []string{"--etcd-endpoints", endpoint, "--etcd-prefix", "new/", "--node-ip", "10.9.8.7", "--data-dir", t.TempDir()}
	s := openOptions(t, to...)
	host := newSimulated("a", 32<<10)
	cloud := host.serve(t, s)
	defer func() { cloud.Close() }()
	if _, err := cloud.ImportNetwork(ctx, sf.System, sf.NetworkSpec{Name: "seven", Netblock: "10.0.0.0/24"}, sf.Kept{UUID: oldVM, VNI: 7}); err != nil {
		t.Fatal(err)
	}
	if _, err := cloud.ImportInstance(ctx, sf.System, sf.InstanceSpec{Name: "other", CPUs: 1, MemoryMiB: 256, Disks: []sf.Disk{{SizeGB: 1}}}, sf.Kept{UUID: oldTaken}); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"--from", endpoint, "--without-disks"}, to...)
	for range 2 {
		said := says(t, 1, args, "refuse  instance   "+oldTaken+" vm1: another instance has its UUID here", "refuse  network    "+oldNet+" lan: VNI 7 is network "+oldVM, "refuse  instance   "+oldVM+" vm1: network "+oldNet+" not found")
		if args = append(args, "--apply"); strings.Contains(said, "keep    namespace  demo") {
			t.Error("a dry run imported")
		}
	}
	renumber := append(slices.Clone(args), "--renumber")
	says(t, 2, append(args, "--node", "sf-2"), "want the names of two nodes")
	says(t, 1, append(args, "--node", "sf-2=b"), "this cloud has no node b")
	says(t, 1, append(renumber, "--node", "sf-2=a"), "note    network    "+oldNet+" lan: it gets another VXLAN ID", "import  instance   "+oldVM+" vm1: on node a, its disks made anew, off",
		"note    interface  "+oldTwins+": it gets another address", "import  instance   "+oldTwin)
	for id, on := range map[string]string{oldVM: "vm1", oldTwin: "twin"} {
		if i, err := cloud.WaitInstance(ctx, id, sf.InstanceCreated); err != nil || i.Name != on || i.Node != "a" || i.Status.Power == sf.PowerOn {
			t.Errorf("%+v, %v", i, err)
		}
	}
	if said := says(t, 1, renumber); strings.Contains(said, "import ") {
		t.Errorf("imported twice: %s", said)
	}
	if wrong, err := sftest.Invariants(ctx, s, []sftest.HostView{host.view()}, false); err != nil || len(wrong) > 0 {
		t.Errorf("%q, %v", wrong, err)
	}
}

// cutter ends a context when so many lines were written.
type cutter struct {
	left int
	cut  context.CancelFunc
}

func (c *cutter) Write(p []byte) (int, error) {
	if c.left--; c.left == 0 {
		c.cut()
	}
	return len(p), nil
}

// An import that is interrupted after any line goes on where it was, and ends with
// everything there once.
func TestImportInterrupted(t *testing.T) {
	endpoint := startMember(t)
	old := oldRecords(t)
	old["instance/"+oldVM].(map[string]any)["name"] = "\x1b[2J" // which no instance can have, and no terminal should see
	fillOld(t, endpoint, old)
	storage, disk := oldStorage(t, guest.Image(t))
	if err := os.Rename(filepath.Dir(disk), filepath.Join(storage, "instances", oldTwin)); err != nil {
		t.Fatal(err)
	}
	data := t.TempDir()
	args := []string{"--from", endpoint, "--data-dir", data, "--disks", storage, "--apply"}
	c, _, err := parseCommand(importCommands[0], args, nil)
	if err != nil {
		t.Fatal(err)
	}
	interrupted := 0
	for k := 1; ; k++ {
		ctx, cancel := context.WithCancel(t.Context())
		w := &cutter{k, cancel}
		importCloud(ctx, c, c.old, w, discard)
		cancel()
		if w.left > 0 {
			break
		}
		interrupted++
	}
	if interrupted < 5 {
		t.Errorf("interrupted %d times", interrupted)
	}
	said := says(t, 1, args, "keep    network    "+oldNet, "keep    instance   "+oldTwin+" twin", "refuse  instance   "+oldVM+" ?[2J: instance name")
	if strings.Contains(said, "import ") {
		t.Errorf("something was missing: %s", said)
	}
	s := openOptions(t, "--data-dir", data)
	if wrong, err := sftest.Invariants(t.Context(), s, nil, false); err != nil || len(wrong) > 0 {
		t.Errorf("%q, %v", wrong, err)
	}
	if _, err := os.Stat(filepath.Join(data, "instances", oldTwin, "vda.qcow2")); err != nil {
		t.Error(err)
	}
}

// What cannot be an import says why, and makes nothing.
func TestImportRefuses(t *testing.T) {
	endpoint := startMember(t)
	dir := filepath.Join(t.TempDir(), "new")
	to := []string{"--data-dir", dir}
	from := append([]string{"--from", endpoint}, to...)
	says(t, 2, nil, "sfd import --from http://HOST:2379")
	says(t, 2, []string{"--from"}, "flag needs an argument: -from")
	says(t, 2, []string{"--from", "localhost"}, "want URLs")
	says(t, 2, append(from, "--from-user", "x"), "--from-user and --from-password-file belong together")
	says(t, 2, append(from, "--from-cert", "/x"), "--from-cert and --from-key belong together")
	says(t, 2, append(from, "--disks", "here"), "want an absolute path")
	says(t, 2, append(from, "--apply=maybe"), "want true or false")
	says(t, 2, append(from, "now"), `unexpected argument "now"`)
	says(t, 0, []string{"--help"}, "--renumber", "Exit status")
	says(t, 1, from, "has no records of Shaken Fist 0.2")
	says(t, 1, append([]string{"--etcd", "http://127.0.0.1:1"}, to...), "connection refused")
	says(t, 1, append(from, "--disks", dir), "no instances are in")
	fillOld(t, endpoint, oldRecords(t))
	says(t, 1, from, "refuse  instance   "+oldVM+" vm1: its disks would be left behind: they are on node sf-2; say --disks DIR")
	says(t, 1, append(from, "--node", "sf-2=elsewhere"), "this cloud is of one machine")
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("something was made: %v", err)
	}
	// The original's storage is no data directory of ours, for none of our commands.
	theirs := t.TempDir()
	if err := os.MkdirAll(filepath.Join(theirs, "instances", oldVM), 0o755); err != nil {
		t.Fatal(err)
	}
	says(t, 1, []string{"--from", endpoint, "--data-dir", theirs, "--apply"}, "sfd would remove it")
	says(t, 1, []string{"--from", endpoint, "--data-dir", theirs, "--disks", theirs, "--apply"}, "our own data directory too")
	c, err := parse([]string{"--data-dir", theirs, "--node-name", "n"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var h host
	if err := h.openRecords(t.Context(), c, discard); err == nil || !strings.Contains(err.Error(), "sfd would remove it") {
		t.Errorf("sfd starts over it: %v", err)
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}
	fillOld(t, endpoint, map[string]any{"attribute/instance/" + oldVM: map[string]any{}})
	says(t, 1, from, "is the store of a later Shaken Fist")
}

// Disks come as they read, from where the original has them and from nowhere else.
func TestImportDisks(t *testing.T) {
	qemuIO := need.Program(t, "qemu-io", "qemu-utils")
	base := filepath.Join(t.TempDir(), "base")
	if err := qcow2.Create(base, qcow2.Options{Size: 1 << 30}); err != nil {
		t.Fatal(err)
	}
	write := func(path string, commands ...string) {
		t.Helper()
		args := []string{"-f", "qcow2"}
		for _, c := range commands {
			args = append(args, "-c", c)
		}
		if out, err := exec.Command(qemuIO, append(args, path)...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	write(base, "write -P 17 0 64k", "write -P 18 1M 64k")
	storage, disk := oldStorage(t, base)
	i := &v02.Instance{UUID: oldVM, Disks: []v02.Disk{{File: "vda.qcow2", Device: "vdx"}}}
	c := defaults()
	c.dataDir = t.TempDir()
	bring := func() error {
		disks, err := findDisks(storage, i)
		if err != nil {
			return err
		}
		return bringDisks(t.Context(), c, oldVM, disks)
	}
	if err := bring(); err != nil {
		t.Fatal(err)
	}
	came := filepath.Join(c.path("instances"), oldVM, "vdx.qcow2")
	if info, err := qcow2.InspectFile(came); err != nil || info.BackingFile != "" || info.VirtualSize != 8<<30 {
		t.Errorf("%+v, %v", info, err)
	}
	got, err := qcow2.Open(came)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	p := make([]byte, 2)
	for offset, want := range map[int64]byte{0: 17, 1 << 20: 18, 2 << 20: 0, 7 << 30: 0} {
		if _, err := got.ReadAt(p, offset); err != nil || p[0] != want || p[1] != want {
			t.Errorf("at %d there is %d, %v", offset, p, err)
		}
	}
	overlay := func(backing string) {
		t.Helper()
		os.Remove(disk)
		if err := qcow2.Create(disk, qcow2.Options{Size: 8 << 30, BackingFile: backing, BackingFormat: "qcow2"}); err != nil {
			t.Fatal(err)
		}
	}
	cached := filepath.Join(storage, oldImages)
	for name, tc := range map[string]struct {
		spoil func()
		want  string
	}{
		"elsewhere": {func() { overlay("/etc/passwd") }, "which is no image of the cache"},
		"gone":      {func() { overlay("/srv/image_cache/none") }, "no such file"},
		"a link":    {func() { os.Symlink("/etc/passwd", filepath.Join(cached, "link")); overlay("/srv/image_cache/link") }, "is not a plain file"},
		"names another": {func() {
			qcow2.Create(filepath.Join(cached, "evil"), qcow2.Options{Size: 1 << 20, BackingFile: "/etc/passwd", BackingFormat: "raw"})
			overlay("/srv/image_cache/evil")
		}, "backing file"},
		"damaged":       {func() { os.WriteFile(disk, []byte("QFI\xfb and no more"), 0o600) }, "qcow2"},
		"itself a link": {func() { os.Remove(disk); os.Symlink("/etc/passwd", disk) }, "is not a plain file"},
	} {
		tc.spoil()
		if err := bring(); err == nil || errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	os.Remove(disk)
	if err := bring(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
}
