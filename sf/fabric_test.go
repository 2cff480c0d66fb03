package sf_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shakenfist/cloud/configdrive"
	"github.com/shakenfist/cloud/netfab"
	fabric "github.com/shakenfist/cloud/netfab/fake"
	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/internal/record"
	"github.com/shakenfist/cloud/sf/sftest"
	"github.com/shakenfist/cloud/store"
)

// cloudOver is a cloud whose node has the fabric f over a simulated one, which is put
// into inner.
func cloudOver(t testing.TB, f netfab.Fabric, inner *netfab.Fabric) *sftest.Cloud {
	t.Helper()
	return sftest.NewWith(t, realTime, func(cfg *sf.Config) {
		*inner, cfg.Node.Fabric = cfg.Node.Fabric, f
	})
}

// asked is a fabric that remembers what it was last asked for.
type asked struct {
	netfab.Fabric
	mu   sync.Mutex
	last netfab.Desired
}

func (f *asked) Apply(ctx context.Context, want netfab.Desired) error {
	f.mu.Lock()
	f.last = want
	f.mu.Unlock()
	return f.Fabric.Apply(ctx, want)
}

func (f *asked) network(id string) (found netfab.Network) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range f.last.Networks {
		if n.ID == id {
			found = n
		}
	}
	return found
}

// TestIsolated tells the fabric which networks have no router anywhere: there this
// host's end has to answer at the router's address, or nobody finds the name server.
func TestIsolated(t *testing.T) {
	f := &asked{}
	c := cloudOver(t, f, &f.Fabric)
	ctx := sftest.Context(t)
	for _, nat := range []bool{true, false} {
		n, err := c.CreateNetwork(ctx, sf.System, sf.NetworkSpec{Name: "net", Netblock: "10.0.0.0/24", DHCP: true, NAT: nat})
		if err != nil {
			t.Fatal(err)
		}
		newInstance(t, c, small("one", sf.InterfaceSpec{Network: n.UUID}))
		if got := f.network(n.UUID); got.ID == "" || got.Isolated == nat {
			t.Errorf("NAT %t: the fabric was asked for %+v", nat, got)
		}
	}
}

// TestPeersAreRefused tells the fabric which hosts guests are not to reach: all others of
// the cloud, and not this one by a name that it had.
func TestPeersAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &asked{}
		c := sftest.NewWith(t, realTime, func(cfg *sf.Config) {
			f.Fabric = cfg.Node.Fabric
			cfg.Node.Fabric, cfg.Node.Address = f, netip.MustParseAddr("10.64.0.1")
		})
		for name, address := range map[string]string{"node3": "10.64.0.3", "node2": "10.64.0.2", "before": "10.64.0.1", "lonely": ""} {
			r := store.Put(record.NodeKey(name), fmt.Appendf(nil, `{"name": %q, "address": %q}`, name, address))
			if _, err := c.Store.Commit(t.Context(), store.Txn{Do: []store.Op{r}}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute)
		f.mu.Lock()
		defer f.mu.Unlock()
		if got := fmt.Sprint(f.last.Outside.Peers); got != "[10.64.0.2 10.64.0.3]" {
			t.Errorf("guests are not to reach %s", got)
		}
	})
}

// TestFabricFails makes a fabric that can do nothing: who waits for its ports says so,
// and goes on once it can.
func TestFabricFails(t *testing.T) {
	f := &blind{}
	c := cloudOver(t, f, &f.Fabric)
	ctx := sftest.Context(t)
	n := newNetwork(t, c, "10.0.0.0/24")
	f.broken.Store(true)
	i, err := c.CreateInstance(ctx, sf.System, small("one", sf.InterfaceSpec{Network: n.UUID}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.WaitInstance(ctx, i.UUID, func(i *sf.Instance) (bool, error) {
		return i.Status.Wait != nil && strings.Contains(i.Status.Wait.Reason, "no such device"), nil
	}); err != nil {
		t.Fatal(err)
	}
	f.broken.Store(false)
	if _, err := c.WaitInstance(ctx, i.UUID, sf.InstanceCreated); err != nil {
		t.Fatal(err)
	}
	c.ComeToRest(t)
}

// blind is a fabric that cannot even look at the host.
type blind struct {
	netfab.Fabric
	broken atomic.Bool
}

func (f *blind) Apply(ctx context.Context, want netfab.Desired) error {
	if f.broken.Load() {
		return errors.New("list links: no such device")
	}
	return f.Fabric.Apply(ctx, want)
}

// TestOutsideFails makes an outside that cannot be: networks that need none have their
// instances, those that do say what is wrong.
func TestOutsideFails(t *testing.T) {
	c := sftest.NewWith(t, realTime, func(cfg *sf.Config) {
		cfg.Node.Fabric = fabric.New(fabric.Config{Tag: "sftest/node1", Hook: func(what string) error {
			if strings.HasPrefix(what, "outside set") {
				return errors.New("uplink eth1 is no device of this host")
			}
			return nil
		}})
	})
	ctx := sftest.Context(t)
	n, err := c.CreateNetwork(ctx, sf.System, sf.NetworkSpec{Name: "inside", Netblock: "10.0.0.0/24", DHCP: true})
	if err != nil {
		t.Fatal(err)
	}
	newInstance(t, c, small("one", sf.InterfaceSpec{Network: n.UUID}))
	if n, err = c.CreateNetwork(ctx, sf.System, sf.NetworkSpec{Name: "outside", Netblock: "10.0.0.0/24", NAT: true}); err != nil {
		t.Fatal(err)
	}
	i, err := c.CreateInstance(ctx, sf.System, small("two", sf.InterfaceSpec{Network: n.UUID}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.WaitInstance(ctx, i.UUID, func(i *sf.Instance) (bool, error) {
		return i.Status.Wait != nil && strings.Contains(i.Status.Wait.Reason, "uplink eth1 is no device"), nil
	}); err != nil {
		t.Fatal(err)
	}
}

// listening is a fabric whose name servers hear nothing.
type listening struct{ netfab.Fabric }

func (listening) Listen(ctx context.Context, id string) (net.PacketConn, net.Listener, error) {
	packets, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	conns, err := net.Listen("tcp", "127.0.0.1:0")
	return packets, conns, err
}

// TestNamesOfSeveral tells a guest on several networks to ask where more than the names of
// one network is known.
func TestNamesOfSeveral(t *testing.T) {
	c := sftest.NewWith(t, realTime, func(cfg *sf.Config) { cfg.Node.Fabric = listening{cfg.Node.Fabric} })
	ctx := sftest.Context(t)
	var inside [2]*sf.Network
	for k := range inside {
		n, err := c.CreateNetwork(ctx, sf.System, sf.NetworkSpec{Name: "inside", Netblock: fmt.Sprintf("10.0.%d.0/24", k), DHCP: true})
		if err != nil {
			t.Fatal(err)
		}
		inside[k] = n
	}
	out := newNetwork(t, c, "10.0.9.0/24")
	for _, test := range []struct {
		networks []*sf.Network
		want     string
	}{
		{[]*sf.Network{inside[0], out, inside[1]}, "10.0.9.1"},
		{[]*sf.Network{inside[1], inside[0]}, "10.0.1.1"},
	} {
		want := small("one")
		for _, n := range test.networks {
			want.Interfaces = append(want.Interfaces, sf.InterfaceSpec{Network: n.UUID})
		}
		i := newInstance(t, c, want)
		image := c.Host.Content(i.UUID, "vdb")
		drive, err := configdrive.Read(bytes.NewReader(image), int64(len(image)))
		if err != nil {
			t.Fatal(err)
		}
		n, err := drive.NetworkData()
		if err != nil || len(n.Services) != 1 || n.Services[0].Address.String() != test.want {
			t.Errorf("the guest is to ask %+v, %v, want %s", n.Services, err, test.want)
		}
	}
}

// curious is a fabric whose DHCP traffic looks at the cloud when it ends, as one whose
// Close waits for somebody who does.
type curious struct {
	netfab.Fabric
	look atomic.Pointer[func()]
}

func (f *curious) Frames(ctx context.Context, id string) (io.ReadWriteCloser, error) {
	r, w := io.Pipe()
	return &ending{r, w, f}, nil
}

type ending struct {
	io.Reader
	*io.PipeWriter
	fabric *curious
}

func (e *ending) Close() error {
	if look := e.fabric.look.Load(); look != nil {
		(*look)()
	}
	return e.PipeWriter.Close()
}

// TestServersEndAside ends a network's servers without holding up whoever asks the agent
// something meanwhile: it may take as long as the fabric takes for what it is at.
func TestServersEndAside(t *testing.T) {
	f := &curious{}
	c := cloudOver(t, f, &f.Fabric)
	ctx := sftest.Context(t)
	n := newNetwork(t, c, "10.0.0.0/24")
	looked := func() { c.Stats() }
	f.look.Store(&looked)
	if err := c.DeleteNetwork(ctx, n.UUID); err != nil {
		t.Fatal(err)
	}
	if _, err := c.WaitNetwork(ctx, n.UUID, sf.NetworkGone); err != nil {
		t.Fatal(err)
	}
}

// TestRoutersMAC refuses the MAC of a network's router to a guest on it: the whole network
// would be no more than a contradiction.
func TestRoutersMAC(t *testing.T) {
	c, ctx := sftest.New(t), sftest.Context(t)
	n := newNetwork(t, c, "10.0.0.0/24")
	if _, err := c.CreateInstance(ctx, sf.System, small("two", sf.InterfaceSpec{Network: n.UUID, MAC: n.RouterMAC})); !errors.Is(err, sf.ErrConflict) {
		t.Errorf("a guest with the router's MAC: %v", err)
	}
	// On another network it means nothing.
	m := newNetwork(t, c, "10.0.0.0/24")
	newInstance(t, c, small("three", sf.InterfaceSpec{Network: m.UUID, MAC: strings.ToUpper(n.RouterMAC)}))
}

// heard is a fabric whose name server's TCP port is told.
type heard struct {
	netfab.Fabric
	at atomic.Value
}

func (f *heard) Listen(ctx context.Context, id string) (net.PacketConn, net.Listener, error) {
	packets, conns, err := listening{}.Listen(ctx, id)
	if err == nil {
		f.at.Store(conns.Addr().String())
	}
	return packets, conns, err
}

// TestConversationsEnd ends what is said to a name server with its network: a socket in it
// keeps a network's namespace, and the numbers of its devices, from who comes next.
func TestConversationsEnd(t *testing.T) {
	f := &heard{}
	c := cloudOver(t, f, &f.Fabric)
	ctx := sftest.Context(t)
	n := newNetwork(t, c, "10.0.0.0/24")
	conn, err := net.Dial("tcp", f.at.Load().(string))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// A question for "x", A, IN, as TCP carries it, and an answer of the same length.
	question := append([]byte{0, 19, 1, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}, 1, 'x', 0, 0, 1, 0, 1)
	ask := func() error {
		if _, err := conn.Write(question); err != nil {
			return err
		}
		_, err := io.ReadFull(conn, make([]byte, len(question)))
		return err
	}
	if err := ask(); err != nil {
		t.Fatal(err)
	}
	if err := c.DeleteNetwork(ctx, n.UUID); err != nil {
		t.Fatal(err)
	}
	if _, err := c.WaitNetwork(ctx, n.UUID, sf.NetworkGone); err != nil {
		t.Fatal(err)
	}
	asked := 0
	for ask() == nil {
		asked++
	}
	if asked > 50 { // it is about to end; without, it has a hundred
		t.Errorf("%d questions were answered after the network's end", asked)
	}
}
