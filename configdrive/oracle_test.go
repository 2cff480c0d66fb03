package configdrive

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/shakenfist/cloud/sf/sftest/need"
)

func run(t testing.TB, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(name, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, &stderr)
	}
	return out
}

// extract unpacks the drive for c into a directory, by xorriso.
func extract(t *testing.T, c Config) string {
	t.Helper()
	xorriso := need.Program(t, "xorriso", "xorriso")
	image := filepath.Join(t.TempDir(), "drive.iso")
	if err := os.WriteFile(image, build(t, c), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "out")
	run(t, xorriso, "-abort_on", "WARNING", "-indev", image, "-osirrox", "on", "-extract", "/", dir)
	t.Cleanup(func() { run(t, "chmod", "-R", "u+w", dir) }) // a plain user could not remove it
	return dir
}

func TestXorriso(t *testing.T) {
	c := configs()["one"]
	c.UserData = randomBytes(1 << 20)
	dir := extract(t, c)
	for path, want := range read(t, build(t, c)).Files {
		got, err := os.ReadFile(filepath.Join(dir, path))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, want %d (%v)", path, len(got), len(want), err)
		}
	}
	if got, err := os.ReadFile(filepath.Join(dir, Dated, "user_data")); !bytes.Equal(got, c.UserData) {
		t.Errorf("user data: %d bytes, %v", len(got), err)
	}
}

// cloudInit prints what cloud-init's own parser makes of a config drive.
const cloudInit = `
import base64, json, sys
from cloudinit import sources
from cloudinit.sources import DataSourceConfigDrive as drive
from cloudinit.sources.helpers import openstack
r = drive.read_config_drive(sys.argv[1])
md = r["metadata"]
print(json.dumps({
    "version": r["version"],
    "instance-id": md["instance-id"],
    "hostname": md["local-hostname"],
    "zone": md["availability_zone"],
    "seed": base64.b64encode(md["random_seed"]).decode() if "random_seed" in md else "",
    "keys": sources.normalize_pubkey_data(md["public_keys"]),
    "user": base64.b64encode(r["userdata"] or b"").decode(),
    "vendor": sources.convert_vendordata(r["vendordata"]),
    "vendor2": sources.convert_vendordata(r["vendordata2"]),
    "network": openstack.convert_net_json(r["networkdata"], known_macs={}),
    "chosen": openstack.ConfigDriveReader(sys.argv[1])._find_working_version(),
}))
`

// cloudInitPython is a Python that has cloud-init's modules: the system's own,
// where the package installs them, or the one on PATH.
func cloudInitPython(t *testing.T) string {
	t.Helper()
	var out []byte
	for _, python := range []string{"/usr/bin/python3", need.Program(t, "python3", "python3")} {
		var err error
		if out, err = exec.Command(python, "-c", "import cloudinit").CombinedOutput(); err == nil {
			return python
		}
	}
	need.Missing(t, "no Python with cloud-init's modules (Debian package cloud-init): %s", out)
	return ""
}

func TestCloudInit(t *testing.T) {
	python := cloudInitPython(t)
	type found struct {
		Version    int
		InstanceID string `json:"instance-id"`
		Hostname   string
		Zone       string
		Seed       []byte
		Keys       []string
		User       []byte
		Vendor     any
		Vendor2    any
		Network    json.RawMessage
		Chosen     string
	}
	big := configs()["one"]
	big.UserData = randomBytes(1 << 20)
	cases := configs()
	cases["one_big"] = big
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var got found
			if err := json.Unmarshal(run(t, python, "-c", cloudInit, extract(t, c)), &got); err != nil {
				t.Fatal(err)
			}
			m := c.metaData()
			want := found{
				Version: 2, InstanceID: uuid, Hostname: m.Hostname, Zone: c.Zone, Chosen: filepath.Base(Dated),
				Seed: append([]byte{}, c.RandomSeed...), User: append([]byte{}, c.UserData...), Keys: []string{},
				Network: got.Network,
			}
			if name == "not_ascii" {
				want.Keys = []string{"ssh-rsa AAAA ünï", "ssh-rsa BBBB", "ssh-rsa CCCC"}
				want.Vendor = "#cloud-config\nmanage_etc_hosts: true"
			} else if len(c.SSHKeys) > 0 {
				want.Keys = c.SSHKeys
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error("(-want +got):", diff)
			}
			checkNetwork(t, c, got.Network)
		})
	}
}

// checkNetwork compares what cloud-init would configure with what c asks for.
func checkNetwork(t *testing.T, c Config, network []byte) {
	t.Helper()
	type subnet struct {
		Type, Address, Netmask string
		Routes                 []Route
	}
	type item struct {
		Type    string
		Name    string
		MAC     string `json:"mac_address"`
		MTU     int
		Address string
		Subnets []subnet
	}
	var got struct{ Config []item }
	if err := json.Unmarshal(network, &got); err != nil {
		t.Fatal(err)
	}
	n := c.networkData()
	want := []item{}
	for _, l := range n.Links {
		it := item{Type: "physical", Name: l.Name, MAC: l.MAC, MTU: l.MTU, Subnets: []subnet{}}
		for _, a := range n.Networks {
			if a.Link == l.ID {
				it.Subnets = append(it.Subnets, subnet{"static", a.Address.String(), a.Netmask, a.Routes})
			}
		}
		want = append(want, it)
	}
	for _, s := range n.Services {
		want = append(want, item{Type: "nameserver", Address: s.Address.String()})
	}
	if diff := cmp.Diff(want, got.Config, cmp.Transformer("text", func(r Route) string {
		return base64.StdEncoding.EncodeToString([]byte(r.Network + r.Netmask + r.Gateway.String()))
	})); diff != "" {
		t.Error("network (-want +got):", diff)
	}
}
