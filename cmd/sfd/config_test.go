package main

import (
	"bytes"
	"flag"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/shakenfist/cloud/netfab"
	"github.com/shakenfist/cloud/sf"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestParse(t *testing.T) {
	for _, test := range []struct {
		name      string
		args, env []string
		change    func(*config) // of the defaults
	}{
		{"nothing", nil, []string{"PATH=/bin", "HOME=/root"}, func(*config) {}},
		{"the seed's environment", nil, []string{
			"SHAKENFIST_STORAGE_PATH=/data", "SHAKENFIST_API_PORT=13100", "SHAKENFIST_PROMETHEUS_METRICS_PORT=13101", "SHAKENFIST_NODE_NAME=sf-1", "SHAKENFIST_NODE_IP=10.1.2.3",
			"SHAKENFIST_NETWORK_NODE_IP=10.1.2.3", "SHAKENFIST_NODE_EGRESS_NIC=ens3", "SHAKENFIST_FLOATING_NETWORK=10.9.0.0/16",
			"SHAKENFIST_ZONE=lab", "SHAKENFIST_DISK_BUS=scsi", "SHAKENFIST_CPU_OVERCOMMIT_RATIO=4", "SHAKENFIST_RAM_OVERCOMMIT_RATIO=0.9",
			"SHAKENFIST_RAM_SYSTEM_RESERVATION=2.5", "SHAKENFIST_CLEANER_DELAY=60", "SHAKENFIST_AUTH_SECRET_SEED=0123456789abcdef",
			"SHAKENFIST_DOWNLOAD_URL_CIRROS=http://mirror/%(vernum)s.img",
		}, func(c *config) {
			c.dataDir, c.apiPort, c.nodeName, c.egressNIC = "/data", 13100, "sf-1", "ens3"
			c.metricsPort = 13101
			c.nodeIP = netip.MustParseAddr("10.1.2.3")
			c.networkNode = c.nodeIP
			c.floating, c.zone, c.diskBus = netip.MustParsePrefix("10.9.0.0/16"), "lab", "scsi"
			c.cpuOvercommit, c.ramOvercommit, c.ramReserved, c.cleanerDelay = 4, 0.9, 2560, time.Minute
			c.authSecret, c.cirrosURL = "0123456789abcdef", "http://mirror/%(vernum)s.img"
		}},
		{"a flag wins", []string{"--api-port", "1"}, []string{"SHAKENFIST_API_PORT=2"}, func(c *config) { c.apiPort = 1 }},
		{"an empty variable is unset", nil, []string{"SHAKENFIST_API_PORT="}, func(*config) {}},
		{"flags", []string{
			"--dns-server=9.9.9.9, 1.1.1.1", "--accel", "tcg", "--log-level=debug", "--log-format=json", "--cleaner-delay=90m",
			"--ram-system-reservation=0", "--insecure-listen", "--api-address=::", "--uid-base=500000", "--cleanup",
		}, nil, func(c *config) {
			c.dns = []netip.Addr{netip.MustParseAddr("9.9.9.9"), netip.MustParseAddr("1.1.1.1")}
			c.accel, c.logLevel, c.logFormat, c.cleanerDelay = "tcg", slog.LevelDebug, "json", 90*time.Minute
			c.ramReserved, c.insecureListen, c.apiAddress = -1, true, netip.IPv6Unspecified()
			c.uidBase, c.cleanup = 500000, true
		}},
		{"l2", []string{"--floating-mode=l2", "--node-egress-nic=eth1", "--floating-network=10.9.8.0/24", "--floating-segment=10.9.0.0/16", "--floating-gateway=10.9.0.9"}, nil, func(c *config) {
			c.egressNIC, c.floating = "eth1", netip.MustParsePrefix("10.9.8.0/24")
			c.outside = sf.Outside{Mode: netfab.L2, Segment: netip.MustParsePrefix("10.9.0.0/16"), Gateway: netip.MustParseAddr("10.9.0.9")}
		}},
		{"what means nothing here is said", nil, []string{
			"SHAKENFIST_INCLUDE_TRACEBACKS=1", "SHAKENFIST_CLEANER_DELY=1", "SHAKENFIST_NAMESPACE=system", "SHAKENFIST_KEY=k",
			"SHAKENFIST_API_FINGERPRINT=00",
		}, func(c *config) {
			c.warnings = []string{
				"SHAKENFIST_INCLUDE_TRACEBACKS is ignored: errors carry a sentence, never a traceback",
				"unknown options in the environment are ignored: SHAKENFIST_CLEANER_DELY",
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := parse(test.args, test.env)
			if err != nil {
				t.Fatal(err)
			}
			want := defaults()
			test.change(want)
			if diff := cmp.Diff(want, got, cmp.AllowUnexported(config{}, etcdOptions{}, importOptions{}), cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestParseErrors holds that an error names the option and the accepted form.
func TestParseErrors(t *testing.T) {
	for _, test := range []struct{ option, want string }{
		{"--api-port=x", `"x" for --api-port: want a number from 0 to 65535`},
		{"--api-port=70000", "want a number from 0 to 65535"},
		{"--api-adress=1.2.3.4", "not defined: --api-adress"},
		{"--api-cert=/x", "--api-cert and --api-key belong together"},
		{"--api-key=/x", "--api-cert and --api-key belong together"},
		{"--api-cert=x", "want an absolute path"},
		{"--api-tls --api-cert=/x --api-key=/x", "say one of them"},
		{"--api-tls --insecure-listen", "leave one out"},
		{"--data-dir=here", "want an absolute path"},
		{"--node-ip=::1", "want an IPv4 address"},
		{"--floating-network=10.0.0.1/24", "want an IPv4 block from /8 to /29 by its first address"},
		{"--dns-server=9.9.9.9,", "want IPv4 addresses with commas between"},
		{"--zone=a b", "want a name"},
		{"--node-egress-nic=eth0/1", "want the name of a network device"},
		{"--disk-bus=floppy", "want one of virtio, scsi, ide, sata, usb, nvme"},
		{"--cpu-overcommit-ratio=0", "want a number above 0"},
		{"--ram-overcommit-ratio=NaN", "want a number above 0"},
		{"--ram-system-reservation=-1", "want a number of GB"},
		{"--cleaner-delay=soon", "want a number of seconds, or a duration"},
		{"--cleaner-delay=0", "want a number of seconds, or a duration"},
		{"--download-url-cirros=ftp://x/", "want a URL that begins with http"},
		{"--accel=xen", "want one of auto, kvm, tcg"},
		{"--uid-base=0", "want a number from 1000"},
		{"--log-level=loud", "want one of debug, info, warn, error"},
		{"--insecure-listen=perhaps", "want true or false"},
		{"--floating-mode=bridged", "want one of local, l2, routed"},
		{"--floating-mode=l2", "needs --node-egress-nic"},
		{"--floating-mode=routed", "needs --node-ip"},
		{"--floating-gateway=10.0.0.0/8", "want an IPv4 address, such as"},
		{"--floating-gateway=10.0.0.1", "for --floating-mode l2"},
		{"--floating-segment=10.0.0.0/8", "for --floating-mode l2"},
		{"--edge-address=10.0.0.0/8", "want an IPv4 address with the length"},
		{"--edge-address=10.0.0.1/8", "for --floating-mode routed"},
		{"--self-fence=10 --node-ip=10.0.0.1 --etcd-endpoints=http://10.0.0.1:2379", "--self-fence 10s is less than --node-timeout, 15s"},
		{"now", `unexpected argument "now"`},
		{"SHAKENFIST_CPU_OVERCOMMIT_RATIO=many", `"many" for SHAKENFIST_CPU_OVERCOMMIT_RATIO: want a number above 0`},
		{"SHAKENFIST_AUTH_SECRET_SEED=foo", "want at least 16 bytes"},
		{"SHAKENFIST_NETWORK_NODE_IP=10.1.2.3", "there is no network node here"},
	} {
		t.Run(test.option, func(t *testing.T) {
			args, env := strings.Split(test.option, " --"), []string(nil)
			for i := range args[1:] {
				args[i+1] = "--" + args[i+1]
			}
			if strings.HasPrefix(test.option, envPrefix) {
				args, env = nil, args
			}
			if _, err := parse(args, env); err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v: want one line with %q", err, test.want)
			}
		})
	}
}

// isGolden compares a text with a file in testdata, or writes that.
func isGolden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestHelp keeps the help, and with it the list of all names, as text.
func TestHelp(t *testing.T) {
	var got bytes.Buffer
	if status := Main(t.Context(), []string{"--help"}, nil, &got, &got); status != 0 {
		t.Errorf("status %d", status)
	}
	isGolden(t, "help.txt", got.String())
}

// TestHelpTellsDefaults holds the help's defaults against the real ones.
func TestHelpTellsDefaults(t *testing.T) {
	for _, o := range options {
		c := defaults()
		if o.def == "" || o.set(c, o.def) != nil {
			continue // a default in words
		}
		if diff := cmp.Diff(defaults(), c, cmp.AllowUnexported(config{}, etcdOptions{}, importOptions{}), cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" && !inWords[o.flag] {
			t.Errorf("--%s: the help says %s:\n%s", o.flag, o.def, diff)
		}
	}
}

// inWords are defaults that would pass for values.
var inWords = map[string]bool{"node-name": true, "etcd-user": true, "": true}

func TestMainStatus(t *testing.T) {
	var out, errs bytes.Buffer
	if status := Main(t.Context(), []string{"--version"}, nil, &out, &errs); status != 0 || !strings.HasPrefix(out.String(), "sfd ") {
		t.Errorf("--version: %d, %q", status, out.String())
	}
	if status := Main(t.Context(), []string{"--nonsense"}, nil, &out, &errs); status != 2 || !strings.HasPrefix(errs.String(), "sfd: ") {
		t.Errorf("a wrong option: %d, %q", status, errs.String())
	}
}

// FuzzParse holds that no value crashes the parser and that what it accepts fits.
func FuzzParse(f *testing.F) {
	for _, o := range options {
		f.Add(o.flag, o.def)
	}
	f.Add("cleaner-delay", "1e9h")
	f.Add("ram-system-reservation", "1e300")
	f.Fuzz(func(t *testing.T, name, value string) {
		c, err := parse([]string{"--" + name + "=" + value}, nil)
		if err != nil {
			return
		}
		if c.cleanerDelay < time.Second || !(c.cpuOvercommit > 0) || !(c.ramOvercommit > 0) || c.apiPort < 0 ||
			c.ramReserved < -1 || !filepath.IsAbs(c.dataDir) || !c.apiAddress.IsValid() {
			t.Errorf("--%s=%q gives %+v", name, value, c)
		}
	})
}
