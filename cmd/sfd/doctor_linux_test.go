package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/shakenfist/cloud/cmd/sfd/internal/doctor"
	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/libvirt"
	"github.com/shakenfist/cloud/driver/libvirt/libvirttest"
	"github.com/shakenfist/cloud/driver/qemu"
	"github.com/shakenfist/cloud/netfab"
	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/client"
	"github.com/shakenfist/cloud/sf/sftest/need"
	"github.com/shakenfist/cloud/sf/spec"
)

// UUIDs of what no record names.
const (
	lostNetwork, lostInstance = "11111111-0000-4000-8000-000000000001", "11111111-0000-4000-8000-000000000002"
	lostSnapshot, lostMachine = "11111111-0000-4000-8000-000000000003", "11111111-0000-4000-8000-000000000004"
	strayQEMU, foreignQEMU    = "11111111-0000-4000-8000-000000000005", "11111111-0000-4000-8000-000000000006"
)

// TestDoctor plants leftovers, others' things and lookalikes on a host. The doctor
// tells them apart, with sfd running and without, and removes what is left over only.
func TestDoctor(t *testing.T) {
	l := newLab(t)
	need.Program(t, "nft", "nftables")
	ctx := timeout(t)
	l.start()
	w := &ward{newHealer(l, ctx, l.network(ctx, "lan").VNI)}
	idle := w.idle()
	if status, said := w.doctor(); status != 0 || !strings.Contains(said, "all is well") || !strings.Contains(said, "instance idle") {
		t.Fatalf("a host that is well: %d, %s", status, said)
	}

	// Beside a running sfd.
	w.plantFiles()
	w.plantTable("odd", w.tag)
	w.finds(map[string]doctor.Verdict{lostInstance: doctor.Orphan, lostSnapshot: doctor.Orphan, "ip odd": doctor.Orphan, idle: doctor.Explained})
	if status, said := w.doctor("--fix"); status != 0 || strings.Count(said, "  removed ") != 3 {
		t.Errorf("beside an sfd: %d, %s", status, said)
	}
	l.stop()

	// Without one.
	w.plantFiles()
	w.plantTable("odd", w.tag)
	w.plantTable("theirs", "cloud/other")
	w.plantNamespace(w.tag, 7, lostNetwork)
	w.plantNamespace("cloud/other", 8, lostNetwork)
	w.must(l.machine, "ip link add sfo-abcdef type bridge") // a name like ours, and no mark
	w.check(os.WriteFile(filepath.Join(l.dir, "data", "image_cache", "tmp", "half"), nil, 0o600))
	w.check(os.WriteFile(filepath.Join(l.dir, "data", "image_cache", "partial", "begun"), nil, 0o600))
	w.qemu(filepath.Join(l.dir, "data"), lostMachine)
	stray := w.qemu(filepath.Join(l.dir, "data"), strayQEMU)
	w.check(os.RemoveAll(filepath.Join(l.dir, "data", "machines", "machines", strayQEMU)))
	foreign := w.qemu(t.TempDir(), foreignQEMU)
	lookalike := w.lookalike(idle)
	mine := l.machines()[idle]

	orphans := map[string]doctor.Verdict{
		lostInstance: doctor.Orphan, lostSnapshot: doctor.Orphan, "ip odd": doctor.Orphan, "tmp/half": doctor.Orphan,
		netfab.NamespaceName(w.tag, 7): doctor.Orphan, "machine " + lostMachine: doctor.Orphan, "QEMU of " + strayQEMU: doctor.Orphan,
	}
	others := map[string]doctor.Verdict{
		"ip theirs": doctor.Foreign, netfab.NamespaceName("cloud/other", 8): doctor.Foreign, "QEMU of " + foreignQEMU: doctor.Foreign,
		"sfo-abcdef": doctor.Unproven, "partial/begun": doctor.Explained, "machine " + idle: doctor.Explained, "volumes " + filepath.Join(l.dir, "data/instances", idle): doctor.Explained,
	}
	w.finds(orphans)
	w.finds(others)
	if status, said := w.doctor("--fix"); status != 1 || strings.Contains(said, "  failed ") || strings.Contains(said, "  orphan ") {
		t.Errorf("fix: %d, %s", status, said)
	}
	w.finds(others)
	for name, r := range w.report().verdicts {
		if r == doctor.Orphan {
			t.Errorf("left: %s", name)
		}
	}
	if status, said := w.doctor("--fix"); status != 1 || strings.Contains(said, "  removed ") {
		t.Errorf("fixed again: %d, %s", status, said)
	}
	for pid, want := range map[int]bool{stray: false, foreign: true, lookalike: true, mine: true} {
		if alive(pid) != want {
			t.Errorf("process %d (mine %d, stray %d, foreign %d, lookalike %d) lives: %v", pid, mine, stray, foreign, lookalike, !want)
		}
	}

	// Where the records cannot be read, nobody can tell, and nothing is removed.
	w.plantFiles()
	records := filepath.Join(l.dir, "data", storeName)
	w.check(os.Rename(records, records+".away"))
	if status, said := w.doctor("--fix"); status != 1 || !strings.Contains(said, "no cloud's records") || strings.Contains(said, "removed") {
		t.Errorf("without records: %d, %s", status, said)
	}
	w.finds(map[string]doctor.Verdict{lostInstance: doctor.Unknown, "machine " + idle: doctor.Unknown})
	// Nor where they are another cloud's, which names nothing of this one.
	other, err := sf.Open(ctx, sf.Config{Store: openOptions(t, "--data-dir", filepath.Join(l.dir, "data"))})
	w.check(err)
	w.check(other.Close(), other.Config().Store.Close())
	if status, said := w.doctor("--fix"); status != 1 || !strings.Contains(said, "the records are of cloud "+other.ID()) || strings.Contains(said, "removed") {
		t.Errorf("with another cloud's records: %d, %s", status, said)
	}
	w.finds(map[string]doctor.Verdict{lostInstance: doctor.Unknown, "machine " + idle: doctor.Unknown})
	w.check(os.Rename(records+".away", records))
	l.start()
	if i, err := l.client.Instance(ctx, idle); err != nil || i.Status.Power != spec.PowerOn {
		t.Errorf("the instance: %+v, %v", i, err)
	}
}

// TestDoctorLibvirt does the same with domains of a libvirtd.
func TestDoctorLibvirt(t *testing.T) {
	l := newLabOn(t, libvirttest.Start(t))
	ctx := timeout(t)
	l.start()
	w := &ward{newHealer(l, ctx, 1)}
	idle := w.idle()
	if status, said := w.doctor(); status != 0 || !strings.Contains(said, "machine sf:"+idle+": instance idle") {
		t.Fatalf("a host that is well: %d, %s", status, said)
	}
	l.stop()
	w.domain(filepath.Join(l.dir, "data", "libvirt"), w.tag, lostMachine)
	w.domain(t.TempDir(), "cloud/other", foreignQEMU)
	others := map[string]doctor.Verdict{"sf:" + idle: doctor.Explained, "sf:" + foreignQEMU: doctor.Foreign}
	w.finds(map[string]doctor.Verdict{"sf:" + lostMachine: doctor.Orphan})
	w.finds(others)
	if status, said := w.doctor("--fix"); status != 0 || strings.Count(said, "  removed ") != 1 {
		t.Errorf("fix: %d, %s", status, said)
	}
	w.finds(others)
	if _, there := w.report().verdicts["machine sf:"+lostMachine]; there {
		t.Error("an orphan is left")
	}
}

// domain defines a machine of an owner's.
func (w *ward) domain(dir, owner, id string) {
	w.TB.Helper()
	h, err := libvirt.New(w.ctx, libvirt.Config{Dir: dir, Socket: w.virt.Socket, Owner: owner, Accel: "tcg"})
	w.check(err)
	defer h.Close()
	w.check(h.Create(w.ctx, driver.Spec{ID: id, Name: id, CPUs: 1, MemoryMiB: 32, Video: driver.Video{Model: "none"}, Dir: filepath.Join(w.dir, id)}))
}

// TestDoctorEtcd asks where the records are elsewhere: of sfd, without it, and without them.
func TestDoctorEtcd(t *testing.T) {
	t.Parallel() // most of it is the doctor's patience with an etcd that is gone
	l := newLab(t)
	etcd := exec.Command(need.Program(t, "etcd", "etcd-server"), "--data-dir", t.TempDir(), "--log-level", "error")
	if err := in(l.machine, etcd.Start); err != nil {
		t.Fatal(err)
	}
	end := sync.OnceFunc(func() {
		etcd.Process.Kill()
		etcd.Wait()
	})
	t.Cleanup(end)
	l.more = []string{"--etcd-endpoints", "http://127.0.0.1:2379", "--node-ip", uplink}
	l.start()
	w := &ward{newHealer(l, timeout(t), 1)}
	idle := w.idle()
	well := func(when string) {
		t.Helper()
		if status, said := w.doctor(); status != 0 || !strings.Contains(said, "etcd http://127.0.0.1:2379: answers") || !strings.Contains(said, "instance idle") {
			t.Errorf("%s: %d, %s", when, status, said)
		}
	}
	well("running")
	l.kill()
	well("killed")
	w.plantFiles()
	if status, said := w.doctor("--fix"); status != 0 || strings.Count(said, "  removed ") != 2 {
		t.Errorf("fix: %d, %s", status, said)
	}
	if status, said := w.sfd("key", "list"); status != 0 || !strings.HasPrefix(said, "deploy-") {
		t.Errorf("key list: %d, %s", status, said)
	}
	end()
	if status, said := w.doctor("--fix"); status != 1 || !strings.Contains(said, "  wrong     etcd http://127.0.0.1:2379") {
		t.Errorf("without etcd: %d, %s", status, said)
	}
	w.finds(map[string]doctor.Verdict{"machine " + idle: doctor.Unknown})
}

// TestDoctorFirst asks on a host where sfd has never run: it is told whether it could.
func TestDoctorFirst(t *testing.T) {
	l := newLab(t)
	cmd := l.command()
	cmd.Args = append([]string{cmd.Args[0], "doctor"}, cmd.Args[1:]...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := in(l.machine, cmd.Run); err != nil || !strings.Contains(said.String(), "no cloud has been on this host yet") {
		t.Errorf("%v: %s", err, said.String())
	}
	if _, err := os.Stat(filepath.Join(l.dir, "data")); !os.IsNotExist(err) {
		t.Errorf("it has made something: %v", err)
	}
}

// ward is a machine with things planted on it.
type ward struct{ *healer }

func (w *ward) idle() string {
	made, err := w.client.CreateInstance(w.ctx, "", spec.InstanceSpec{Name: "idle", CPUs: 1, MemoryMiB: 64, Disks: []spec.Disk{{SizeGB: 1}}})
	if err == nil {
		made, err = w.client.WaitInstance(w.ctx, made.UUID, client.InstanceCreated)
	}
	w.check(err)
	return made.UUID
}

// doctor runs sfd doctor on the machine.
func (w *ward) doctor(more ...string) (status int, said string) {
	w.TB.Helper()
	return w.sfd(append([]string{"doctor"}, more...)...)
}

// sfd runs a command of sfd's on the machine.
func (w *ward) sfd(args ...string) (status int, said string) {
	w.TB.Helper()
	var out bytes.Buffer
	cmd := exec.Command("/proc/self/exe", append(args, w.args()...)...)
	cmd.Env = append(os.Environ(), asDaemon+"=1")
	cmd.Stdout, cmd.Stderr = &out, &out
	w.check(in(w.machine, cmd.Start))
	cmd.Wait()
	return cmd.ProcessState.ExitCode(), out.String()
}

type sickness struct{ verdicts map[string]doctor.Verdict }

// report is what doctor says as JSON, by kind and name.
func (w *ward) report() sickness {
	w.TB.Helper()
	_, said := w.doctor("--json")
	var r doctor.Report
	if err := json.Unmarshal([]byte(said), &r); err != nil {
		w.TB.Fatalf("%v: %s", err, said)
	}
	s := sickness{map[string]doctor.Verdict{}}
	for _, f := range r.Things {
		s.verdicts[f.Kind+" "+f.Name] = f.Verdict
	}
	return s
}

// finds holds verdicts of things whose names end so.
func (w *ward) finds(want map[string]doctor.Verdict) {
	w.TB.Helper()
	all := w.report().verdicts
	for name, verdict := range want {
		found := false
		for have, v := range all {
			if strings.HasSuffix(strings.TrimSuffix(have, ".partial"), name) {
				found = true
				if v != verdict {
					w.TB.Errorf("%s is %s, want %s", have, v, verdict)
				}
			}
		}
		if !found {
			w.TB.Errorf("%s is not seen: %v", name, all)
		}
	}
}

func (w *ward) plantFiles() {
	for _, dir := range []string{"instances/" + lostInstance, "snapshots/" + lostSnapshot + ".partial"} {
		w.check(os.MkdirAll(filepath.Join(w.dir, "data", dir), 0o700))
	}
}

func (w *ward) plantTable(name, tag string) {
	w.TB.Helper()
	for _, args := range [][]string{{"add", "table", "ip", name}, {"add", "chain", "ip", name, "c"},
		{"add", "rule", "ip", name, "c", "counter", "comment", fmt.Sprintf("%q", "shakenfist "+tag+" 0")}} {
		if out, err := w.run(w.machine, "nft", args...); err != nil {
			w.TB.Fatalf("nft %v: %v: %s", args, err, out)
		}
	}
}

func (w *ward) plantNamespace(tag string, vni uint32, network string) {
	w.TB.Helper()
	ns := w.namespace()
	out, err := w.run(ns, "ip", "link", "set", "lo", "alias", "shakenfist "+tag+" network "+network)
	if err != nil {
		w.TB.Fatalf("%v: %s", err, out)
	}
	path := filepath.Join(w.dir, "netns", netfab.NamespaceName(tag, vni))
	w.check(os.WriteFile(path, nil, 0o444), unix.Mount(fmt.Sprintf("/proc/self/fd/%d", ns.Fd()), path, "", unix.MS_BIND, ""))
}

// qemu starts a machine over a data directory as an sfd would, and lets go of it.
func (w *ward) qemu(data, id string) (pid int) {
	w.TB.Helper()
	h, err := qemu.New(w.ctx, qemu.Config{Dir: filepath.Join(data, "machines"), Accel: "tcg", UIDBase: 400000, Cgroup: "none"})
	w.check(err)
	defer h.Close()
	w.check(h.Create(w.ctx, driver.Spec{ID: id, Name: id, CPUs: 1, MemoryMiB: 32, Video: driver.Video{Model: "none"}, Dir: filepath.Join(w.dir, id)}),
		h.Start(w.ctx, id))
	s, err := h.Inspect(w.ctx, id)
	w.check(err)
	w.TB.Cleanup(func() { syscall.Kill(s.PID, syscall.SIGKILL) })
	return s.PID
}

// lookalike starts a QEMU with arguments like ours that nobody of us started.
func (w *ward) lookalike(id string) (pid int) {
	w.TB.Helper()
	cmd := exec.Command("qemu-system-x86_64", "-S", "-nodefaults", "-display", "none", "-accel", "tcg", "-m", "32",
		"-uuid", id, "-action", "shutdown=pause,reboot=reset,panic=none")
	w.check(cmd.Start())
	w.TB.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd.Process.Pid
}

// alive reports whether a process is there, and no zombie.
func alive(pid int) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(data), ") Z ")
}
