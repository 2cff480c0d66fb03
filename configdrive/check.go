package configdrive

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"
)

// check refuses what a guest could not use or would read differently.
func (c Config) check() error {
	if c.UUID == "" || c.Name == "" {
		return errors.New("UUID and Name are required")
	}
	for _, f := range []struct{ name, value string }{
		{"UUID", c.UUID}, {"Name", c.Name}, {"Hostname", c.Hostname}, {"Zone", c.Zone},
	} {
		if !plainText(f.value) {
			return fmt.Errorf("%s %q: want UTF-8 without control characters", f.name, f.value)
		}
	}
	for i, key := range c.SSHKeys {
		if !utf8.ValidString(key) {
			return fmt.Errorf("SSHKeys[%d] is not UTF-8", i)
		}
	}
	if len(c.VendorData) > 0 && !json.Valid(c.VendorData) {
		return errors.New("VendorData is not a JSON document")
	}
	for i, addr := range c.DNS {
		if !addr.Is4() {
			return fmt.Errorf("DNS[%d] %s: want an IPv4 address", i, addr)
		}
	}
	macs := make(map[string]bool)
	for i, nic := range c.Interfaces {
		mac := strings.ToLower(nic.MAC)
		if err := nic.check(); err != nil {
			return fmt.Errorf("interface %d (%s): %w", i, nic.UUID, err)
		}
		if macs[mac] {
			return fmt.Errorf("interface %d (%s): another interface has MAC %s too", i, nic.UUID, mac)
		}
		macs[mac] = true
	}
	return nil
}

func (n Interface) check() error {
	if !plainText(n.UUID) || !plainText(n.Network) || n.UUID == "" || n.Network == "" {
		return fmt.Errorf("UUID %q and Network %q: want both, in UTF-8 without control characters", n.UUID, n.Network)
	}
	if !validMAC(n.MAC) {
		return fmt.Errorf("MAC %q: want six bytes as in 02:00:00:ab:cd:ef", n.MAC)
	}
	// 68 is IPv4's own minimum.
	if n.MTU != 0 && (n.MTU < 68 || n.MTU > 65535) {
		return fmt.Errorf("MTU %d: want 68 to 65535, or 0 to say nothing", n.MTU)
	}
	if n.Addr != (netip.Prefix{}) && (!n.Addr.IsValid() || !n.Addr.Addr().Is4()) {
		return fmt.Errorf("address %s: want an IPv4 address with its prefix length", n.Addr)
	}
	switch {
	case !n.Gateway.IsValid() && n.DefaultRoute:
		return errors.New("DefaultRoute is set without a Gateway")
	case n.Gateway.IsValid() && n.Addr.IsValid() && (!n.Addr.Contains(n.Gateway) || n.Gateway == n.Addr.Addr()):
		return fmt.Errorf("gateway %s: want another address in %s", n.Gateway, n.Addr.Masked())
	}
	return nil
}

func plainText(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

func validMAC(s string) bool {
	if len(s) != len("02:00:00:ab:cd:ef") {
		return false
	}
	for i, c := range []byte(s) {
		hex := c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
		if i%3 == 2 && c != ':' || i%3 != 2 && !hex {
			return false
		}
	}
	return true
}
