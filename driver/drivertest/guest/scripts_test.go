package guest

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// awk runs one of the guest's awk programs with the guest's awk.
func awk(t *testing.T, script, input string, args ...string) string {
	t.Helper()
	args = append([]string{"awk"}, append(args, "-f", "rootfs/etc/sfguest/"+script)...)
	cmd := exec.Command(parts(t).Busybox, args...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("awk %s: %v\n%s", script, err, out)
	}
	return string(out)
}

func TestJSONScript(t *testing.T) {
	for _, test := range []struct{ name, in, want string }{
		{"values", `{"a": 1, "b" : true,"c":null, "d": -1.5e3}`, "a 1\nb true\nc null\nd -1.5e3\n"},
		{"nesting", `{"l":[{"m":1},{"m":[2,3]}],"o":{"p":{"q":"r"}}}`, "l.0.m 1\nl.1.m.0 2\nl.1.m.1 3\no.p.q r\n"},
		{"empty", `{"a":[],"b":{},"c":""}`, "c \n"},
		{"lines", "{\n\t\"a\": [\n 1,\r\n 2 ]\n}\n", "a.0 1\na.1 2\n"},
		{"escapes", `{"k": "say \"hi\", \/ and \\ [x] {y}"}`, `k say "hi", / and \ [x] {y}` + "\n"},
		{"odd keys", `{"a b": 1, "c:d": 2}`, "a b 1\nc:d 2\n"},
		{"text", `"x"`, " x\n"},
		{"broken ones end", `{"a": 1, "b`, "a 1\n"},
		{"nothing", ``, ""},
	} {
		if diff := cmp.Diff(test.want, awk(t, "json.awk", test.in)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

func TestNICScript(t *testing.T) {
	const data = `{
 "links": [
  {"id": "eth0", "ethernet_mac_address": "02:00:00:00:00:01", "mtu": 1450, "type": "vif"},
  {"id": "eth1", "ethernet_mac_address": "02:00:00:00:00:0A", "type": "vif"},
  {"id": "eth2", "ethernet_mac_address": "02:00:00:00:00:03", "mtu": 9000, "type": "vif"}],
 "networks": [
  {"id": "n1", "link": "eth1", "ip_address": "10.1.0.7", "netmask": "255.255.0.0", "routes": []},
  {"id": "n0", "link": "eth0", "ip_address": "10.0.0.5", "netmask": "255.255.255.0",
   "routes": [{"network": "10.9.0.0", "netmask": "255.255.0.0", "gateway": "10.0.0.9"},
              {"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "10.0.0.1"}]}]}`
	flat := awk(t, "json.awk", data)
	for _, test := range []struct{ mac, want string }{
		{"02:00:00:00:00:01", "mac=02:00:00:00:00:01 address=10.0.0.5 netmask=255.255.255.0 mtu=1450 router=10.0.0.1\n"},
		{"02:00:00:00:00:0a", "mac=02:00:00:00:00:0a address=10.1.0.7 netmask=255.255.0.0 mtu=none router=none\n"},
		{"02:00:00:00:00:03", "mac=02:00:00:00:00:03 address=none netmask=none mtu=9000 router=none\n"},
		{"02:00:00:00:00:ff", "mac=none\n"},
	} {
		if diff := cmp.Diff(test.want, awk(t, "nic.awk", flat, "-v", "mac="+test.mac)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.mac, diff)
		}
	}
}
