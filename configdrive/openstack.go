package configdrive

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
)

// MetaData is meta_data.json.
type MetaData struct {
	UUID             string            `json:"uuid"`
	Name             string            `json:"name"`
	Hostname         string            `json:"hostname"`
	AvailabilityZone string            `json:"availability_zone"`
	LaunchIndex      int               `json:"launch_index"`          // always 0
	ProjectID        *string           `json:"project_id"`            // always null
	Devices          []any             `json:"devices"`               // always empty
	PublicKeys       map[string]string `json:"public_keys"`           // by a name that says nothing: "mykey", "mykey2", …
	RandomSeed       []byte            `json:"random_seed,omitempty"` // base64
}

// NetworkData is network_data.json.
type NetworkData struct {
	Links    []Link        `json:"links"`
	Networks []NetworkAddr `json:"networks"`
	Services []Service     `json:"services"`
}

// Link is a network card.
type Link struct {
	ID    string `json:"id"`   // "eth0", by position
	Name  string `json:"name"` // the same
	Type  string `json:"type"` // always "vif"
	MAC   string `json:"ethernet_mac_address"`
	MTU   int    `json:"mtu,omitempty"` // bytes
	VifID string `json:"vif_id"`        // UUID of the interface
}

// NetworkAddr is a link's address. A link without an address has none.
type NetworkAddr struct {
	// ID is the network's UUID, with the link's ID added where an earlier link is
	// on the same network, so that it is distinct.
	ID        string     `json:"id"`
	NetworkID string     `json:"network_id"` // UUID of the network
	Link      string     `json:"link"`       // ID of the link
	Type      string     `json:"type"`       // always "ipv4", which means static
	Address   netip.Addr `json:"ip_address"`
	Netmask   string     `json:"netmask"` // dotted
	Routes    []Route    `json:"routes"`
}

// Route is a route by way of a link's network.
type Route struct {
	Network string     `json:"network"` // 0.0.0.0 for the default route
	Netmask string     `json:"netmask"` // likewise
	Gateway netip.Addr `json:"gateway"`
}

// Service is a service that the guest may use.
type Service struct {
	Type    string     `json:"type"` // always "dns"
	Address netip.Addr `json:"address"`
}

func (c Config) metaData() MetaData {
	m := MetaData{
		UUID:             c.UUID,
		Name:             c.Name,
		Hostname:         c.Hostname,
		AvailabilityZone: c.Zone,
		Devices:          []any{},
		PublicKeys:       map[string]string{},
		RandomSeed:       c.RandomSeed,
	}
	if m.Hostname == "" {
		m.Hostname = c.Name + ".local"
	}
	for i, key := range authorizedKeys(c.SSHKeys) {
		name := "mykey"
		if i > 0 {
			name += fmt.Sprint(i + 1)
		}
		m.PublicKeys[name] = key
	}
	return m
}

// authorizedKeys splits texts into keys: cloud-init takes each value for one key
// and puts its restrictions (on root's, say) before the first line alone.
func authorizedKeys(texts []string) []string {
	var keys []string
	for line := range strings.Lines(strings.Join(texts, "\n")) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			keys = append(keys, line)
		}
	}
	return keys
}

func (c Config) networkData() NetworkData {
	n := NetworkData{Links: []Link{}, Networks: []NetworkAddr{}, Services: []Service{}}
	seen := make(map[string]bool)
	routed := false
	for i, nic := range c.Interfaces {
		name := fmt.Sprintf("eth%d", i)
		n.Links = append(n.Links, Link{
			ID: name, Name: name, Type: "vif", MAC: strings.ToLower(nic.MAC), MTU: nic.MTU, VifID: nic.UUID,
		})
		if !nic.Addr.IsValid() {
			continue
		}
		addr := nic.networkAddr(name)
		if seen[nic.Network] {
			addr.ID += "-" + name
		}
		seen[nic.Network] = true
		// Two default routes would leave the choice to chance.
		if nic.DefaultRoute && !routed {
			addr.Routes = []Route{{Network: "0.0.0.0", Netmask: "0.0.0.0", Gateway: nic.Gateway}}
			routed = true
		}
		n.Networks = append(n.Networks, addr)
	}
	for _, addr := range c.DNS {
		n.Services = append(n.Services, Service{Type: "dns", Address: addr})
	}
	return n
}

func (n Interface) networkAddr(link string) NetworkAddr {
	return NetworkAddr{
		ID:        n.Network,
		NetworkID: n.Network,
		Link:      link,
		Type:      "ipv4",
		Address:   n.Addr.Addr(),
		Netmask:   netmask(n.Addr.Bits()),
		Routes:    []Route{},
	}
}

// netmask spells a prefix length: 255.255.255.0 for 24.
func netmask(bits int) string {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], ^uint32(0)<<(32-bits))
	return netip.AddrFrom4(b).String()
}

// encode writes v for people and programs alike: indented, characters as they are.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
