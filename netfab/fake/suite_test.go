package fake_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/shakenfist/cloud/netfab"
	"github.com/shakenfist/cloud/netfab/fake"
	"github.com/shakenfist/cloud/netfab/netfabtest"
)

func TestFabric(t *testing.T) {
	netfabtest.Run(t, func(t *testing.T) netfabtest.Host {
		host := fake.NewHost()
		broken := netfabtest.Broken().Networks[0].ID
		edit := func(change func(o *netfab.Observed, n *netfab.Network)) func() {
			return func() {
				host.Edit("netfabtest/node", func(o *netfab.Observed) {
					for i := range o.Networks {
						if o.Networks[i].ID == broken {
							change(o, &o.Networks[i])
							return
						}
					}
				})
			}
		}
		return netfabtest.Host{
			Open: func(tag string, hook func(string) error) netfab.Fabric {
				return fake.New(fake.Config{Host: host, Tag: tag, Hook: hook})
			},
			Text: host.String, Occupy: host.Occupy, Underlay: netip.MustParseAddr("198.18.0.1"),
			Routes: func() bool { return host.Routes("netfabtest/node", time.Time{}) },
			Breaks: map[string]func(){
				"a port goes":     edit(func(_ *netfab.Observed, n *netfab.Network) { n.Ports = n.Ports[1:] }),
				"a port changes":  edit(func(_ *netfab.Observed, n *netfab.Network) { n.Ports[0].MAC = "02:00:00:00:00:99" }),
				"the router goes": edit(func(_ *netfab.Observed, n *netfab.Network) { n.Gateway = nil }),
				"the bridge is down": edit(func(o *netfab.Observed, n *netfab.Network) {
					o.Damaged = map[string][]string{n.ID: {"br0 is down"}}
				}),
				"the outside is damaged": edit(func(o *netfab.Observed, _ *netfab.Network) { o.OutsideDamaged = []string{"no table"} }),
				"a stray":                edit(func(o *netfab.Observed, _ *netfab.Network) { o.Stray = []string{"name sf-1"} }),
				"the network goes":       edit(func(o *netfab.Observed, _ *netfab.Network) { o.Networks = o.Networks[1:] }),
			},
		}
	})
}
