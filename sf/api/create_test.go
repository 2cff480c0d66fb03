package api

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/fake"
	"github.com/shakenfist/cloud/sf/sftest"
	"github.com/shakenfist/cloud/sf/spec"
)

const multipart = "Content-Type: multipart/mixed; boundary=\"===============0123456789==\"\r\nMIME-Version: 1.0\r\n\r\n" +
	"--===============0123456789==\r\nContent-Type: text/cloud-config; charset=\"utf-8\"\r\n\r\n#cloud-config\r\nfqdn: bücher.example\r\n\r\n" +
	"--===============0123456789==\r\nContent-Type: text/x-shellscript\r\nContent-Transfer-Encoding: binary\r\n\r\n#!/bin/sh\necho 'héllo wörld ✓ \U0001F680'\n\r\n--===============0123456789==--\r\n"

func noise(n int) []byte {
	p := make([]byte, n)
	rand.New(rand.NewSource(1)).Read(p)
	return p
}

// User data arrives in the guest's config drive byte for byte, and can be read
// back so.
func TestUserDataByteForByte(t *testing.T) {
	cloud := sftest.New(t)
	c := converse(t, cloud.Cloud)
	for name, data := range map[string][]byte{
		"text": []byte("#!/bin/sh\necho hello\n"), "not ASCII": []byte("#cloud-config\n# größer 漢字 \u2028\n"), "multi-part": []byte(multipart),
		"not UTF-8": {0xff, 0xfe, 0, 'x', 0}, "one byte": {0}, "1 MiB": noise(spec.MaxUserData),
	} {
		t.Run(name, func(t *testing.T) {
			encoded := base64.StdEncoding.EncodeToString(data)
			body := fmt.Sprintf(`{"name": "vm", "cpus": 1, "memory": 64, "disk": [{"size": 1, "base": "cirros"}], "user_data": %q}`, encoded)
			w := c.ask("demo", "POST", "/instances", nil, body)
			if w.Code != 200 {
				t.Fatalf("%d %.200s", w.Code, w.Body)
			}
			var i struct {
				UUID     string `json:"uuid"`
				UserData string `json:"user_data"`
			}
			if err := json.Unmarshal(w.Body.Bytes(), &i); err != nil || i.UserData != encoded {
				t.Errorf("the answer has %.40q, %v", i.UserData, err)
			}
			w = c.ask("demo", "GET", "/instances/"+i.UUID, nil, "")
			if err := json.Unmarshal(w.Body.Bytes(), &i); err != nil || i.UserData != encoded {
				t.Errorf("read back: %.40q, %v", i.UserData, err)
			}
			drive := cloud.Host.Content(i.UUID, "vdb")
			if len(drive) == 0 || !bytes.Contains(drive, data) {
				t.Errorf("it is not in the config drive of %d bytes", len(drive))
			}
			if w := c.ask("demo", "DELETE", "/instances/"+i.UUID, nil, ""); w.Code != 200 {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
	}
	large := base64.StdEncoding.EncodeToString(noise(spec.MaxUserData + 1))
	w := c.ask("demo", "POST", "/instances", nil, `{"name": "vm", "cpus": 1, "memory": 64, "disk": [{"size": 1}], "user_data": "`+large+`"}`)
	if want := "user_data has 1048577 bytes, the most is 1048576"; w.Code != 400 || !strings.Contains(w.Body.String(), want) {
		t.Errorf("a byte too many: %d %.200s", w.Code, w.Body)
	}
}

// An instance that asks for the most of everything fits the store.
func TestMostOfEverything(t *testing.T) {
	cloud := sftest.NewWith(t, fake.Config{Now: time.Now, Disk: 1 << 50})
	c := converse(t, cloud.Cloud)
	n, err := cloud.CreateNetwork(t.Context(), "demo", spec.NetworkSpec{Netblock: "10.0.0.0/24"})
	if err != nil {
		t.Fatal(err)
	}
	var disks, nics []any
	for range spec.MaxDisks {
		disks = append(disks, map[string]any{"size": 1, "bus": "scsi", "base": "http://x/" + strings.Repeat("b", 2000)})
	}
	for range spec.MaxInterfaces {
		nics = append(nics, map[string]any{"network_uuid": n.UUID})
	}
	body, err := json.Marshal(map[string]any{"name": strings.Repeat("n", 63), "cpus": 1, "memory": 64, "disk": disks, "network": nics,
		"ssh_key": strings.Repeat("k", 16<<10), "user_data": noise(spec.MaxUserData), "metadata": map[string]any{"m": strings.Repeat("m", spec.MaxMetadata-100)}})
	if err != nil {
		t.Fatal(err)
	}
	if w := c.ask("demo", "POST", "/instances", http.Header{"Idempotency-Key": {strings.Repeat("i", 128)}}, string(body)); w.Code != 200 {
		t.Errorf("%d %.300s", w.Code, w.Body)
	}
}

// A key arrives in the config drive as it was given, and metadata comes back so.
func TestKeysAndMetadata(t *testing.T) {
	cloud := sftest.New(t)
	c := converse(t, cloud.Cloud)
	key := "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ5hXq bücher@büro\nssh-rsa AAAAB3 second\n"
	metadata := spec.Metadata{"größe": "✓", "list": []any{"a", 1.5, nil}, "nested": map[string]any{"k": map[string]any{}}, "text": "line\nline"}
	body, err := json.Marshal(map[string]any{"name": "vm", "cpus": 1, "memory": 64, "disk": []any{map[string]any{"size": 1}}, "ssh_key": key, "metadata": metadata})
	if err != nil {
		t.Fatal(err)
	}
	w := c.ask("demo", "POST", "/instances", nil, string(body))
	var i struct {
		UUID   string `json:"uuid"`
		SSHKey string `json:"ssh_key"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &i); err != nil || i.SSHKey != key {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	drive := cloud.Host.Content(i.UUID, "vdb")
	for line := range strings.Lines(key) {
		if !bytes.Contains(drive, []byte(`"`+strings.TrimSpace(line)+`"`)) {
			t.Errorf("%q is not in the config drive as it was given", line)
		}
	}
	if w := c.ask("demo", "PUT", "/instances/"+i.UUID+"/metadata/sch%C3%B6n", nil, `{"value": "später"}`); w.Code != 200 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	metadata["schön"] = "später"
	var got spec.Metadata
	w = c.ask("demo", "GET", "/instances/"+i.UUID+"/metadata", nil, "")
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(metadata, got); d != "" {
		t.Error(d)
	}
}

// What a node cannot make is refused with what it is that it cannot, and nothing is
// left of it.
func TestBadCombinations(t *testing.T) {
	cloud := sftest.NewWith(t, fake.Config{Now: time.Now, Info: driver.Info{
		Buses: []string{"virtio", "ide"}, NICModels: []string{"virtio"}, VideoModels: []string{"cirrus", "vga"}}})
	c := converse(t, cloud.Cloud)
	n, err := cloud.CreateNetwork(t.Context(), "demo", spec.NetworkSpec{Netblock: "10.0.0.0/24"})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ args, text string }{
		{`"disk": [{"size": 1, "bus": "floppy"}]`, `disk 0: bus \"floppy\" is not one of virtio, scsi, ide, sata, usb, nvme`},
		{`"disk": [{"size": 1}, {"size": 1, "bus": "nvme"}]`, `disk 1: bus \"nvme\" is not available`},
		{`"disk": [{"size": 1, "type": "tape"}]`, `disk 0: type \"tape\" is not one of disk, cdrom`},
		{`"disk": [{"size": 1, "type": "cdrom"}]`, `disk 0: a cdrom needs an image (base)`},
		{`"disk": [{"size": 1, "bus": "ide"}, {"size": 1, "bus": "ide"}, {"size": 1, "bus": "ide"}, {"size": 1, "bus": "ide"}]`, `IDE`},
		{`"disk": [{"size": 0}]`, `disk 0: a disk without an image needs a size`},
		{`"disk": [{"size": 1}], "video": {"model": "qxl"}`, `video model \"qxl\" is not available`},
		{`"disk": [{"size": 1}], "video": {"memory": -1}`, `video memory must be between 0 and 1048576 KiB, not -1`},
		{`"disk": [{"size": 1}], "video": {"heads": 2}`, `video has an unknown key \"heads\" (known: model, memory)`},
		{`"disk": [{"size": 1}], "network": [{"network_uuid": "` + n.UUID + `", "model": "e1000"}]`, `network interface 0: model \"e1000\" is not available`},
		{`"disk": [{"size": 1}], "uefi": true`, `uefi is not available`},
		{`"disk": [{"size": 1}], "uefi": true, "secure_boot": true`, `secure_boot is not supported`},
	} {
		w := c.ask("demo", "POST", "/instances", nil, `{"name": "vm", "cpus": 1, "memory": 64, `+tt.args+`}`)
		if w.Code != 400 || !strings.Contains(w.Body.String(), tt.text) {
			t.Errorf("%s:\n%d %s, want %s", tt.args, w.Code, w.Body, tt.text)
		}
	}
	if w := c.ask("demo", "GET", "/instances", nil, `{"all": true}`); w.Body.String() != "[]\n" {
		t.Errorf("left: %s", w.Body)
	}
	cloud.ComeToRest(t)
}

// What a node can make is passed on to its hypervisor. A CD-ROM is on IDE, as in
// the seed, whatever was asked for.
func TestGoodCombinations(t *testing.T) {
	cloud := sftest.NewWith(t, fake.Config{Now: time.Now, Info: driver.Info{UEFI: true}})
	c := converse(t, cloud.Cloud)
	w := c.ask("demo", "POST", "/instances", nil, `{"name": "vm", "cpus": 2, "memory": 128, "uefi": true, "video": {"model": "virtio", "memory": "8192"},
		"disk": [{"size": 1, "bus": "scsi"}, {"size": 2, "bus": "nvme"}, {"base": "http://x/a.iso", "type": "cdrom", "bus": "sata"}, {"size": 1, "bus": "usb"}]}`)
	var i struct{ UUID string }
	if err := json.Unmarshal(w.Body.Bytes(), &i); err != nil || w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	made, ok := cloud.Host.Spec(i.UUID)
	if !ok || !made.UEFI || made.Video != (driver.Video{Model: "virtio", MemoryKiB: 8192}) {
		t.Errorf("%+v", made)
	}
	var disks []string
	for _, d := range made.Disks {
		disks = append(disks, fmt.Sprint(d.Device, " ", d.Bus, " ", d.CDROM))
	}
	if want := "sda scsi false, sdb scsi false, sdc nvme false, hdd ide true, sde usb false"; strings.Join(disks, ", ") != want {
		t.Errorf("disks %s, want %s", strings.Join(disks, ", "), want)
	}
}
