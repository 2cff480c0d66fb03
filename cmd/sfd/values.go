package main

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/shakenfist/cloud/sf/spec"
)

// text sets a string that passes a check.
func text(field func(*config) *string, check func(string) error) func(*config, string) error {
	return func(c *config, value string) error {
		if err := check(value); err != nil {
			return err
		}
		*field(c) = value
		return nil
	}
}

func present(v string) error {
	if v == "" {
		return errors.New("want something")
	}
	return nil
}

func absolute(v string) error {
	if !filepath.IsAbs(v) {
		return errors.New("want an absolute path, such as /srv/shakenfist")
	}
	return nil
}

func oneOf(values ...string) func(string) error {
	return func(v string) error {
		for _, value := range values {
			if v == value {
				return nil
			}
		}
		return fmt.Errorf("want one of %s", strings.Join(values, ", "))
	}
}

func label(v string) error {
	if len(v) > 63 || !spec.ValidLabel(v) {
		return errors.New("want a name of at most 63 letters, digits and -_.@+")
	}
	return nil
}

func device(v string) error {
	if v == "" || len(v) > 15 || strings.ContainsAny(v, "/ \t\n") {
		return errors.New("want the name of a network device, such as eth0")
	}
	return nil
}

func webURL(v string) error {
	// The template's %(name)s are no escapes of a URL.
	u, err := url.Parse(strings.ReplaceAll(v, "%(", "("))
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return errors.New("want a URL that begins with http:// or https://")
	}
	return nil
}

func address(v string) (netip.Addr, error) {
	a, err := netip.ParseAddr(v)
	if err != nil || a.Zone() != "" {
		return netip.Addr{}, errors.New("want an IP address, such as 127.0.0.1")
	}
	return a.Unmap(), nil
}

func addressOrNone(v string) (netip.Addr, error) {
	if v == "none" {
		return netip.Addr{}, nil
	}
	return address(v)
}

func address4(v string) (netip.Addr, error) {
	a, err := address(v)
	if err != nil || !a.Is4() || a.IsUnspecified() || a.IsLoopback() || a.IsMulticast() {
		return netip.Addr{}, errors.New("want an IPv4 address of this machine, such as 10.1.2.3")
	}
	return a, nil
}

func addresses(v string) (list []netip.Addr, err error) {
	for part := range strings.SplitSeq(v, ",") {
		a, err := address(strings.TrimSpace(part))
		if err != nil || !a.Is4() {
			return nil, errors.New("want IPv4 addresses with commas between, such as 9.9.9.9,1.1.1.1")
		}
		list = append(list, a)
	}
	return list, nil
}

func block(v string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(v)
	if err != nil || !p.Addr().Is4() || p.Bits() > 29 || p.Bits() < 8 || p != p.Masked() {
		return netip.Prefix{}, errors.New("want an IPv4 block from /8 to /29 by its first address, such as 192.168.20.0/24")
	}
	return p, nil
}

func gateway(v string) (netip.Addr, error) {
	a, err := address4(v)
	if err != nil {
		return netip.Addr{}, errors.New("want an IPv4 address, such as 203.0.113.1")
	}
	return a, nil
}

func hostPrefix(v string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(v)
	if err != nil || !p.Addr().Is4() || p.Bits() < 8 || p.Addr() == p.Masked().Addr() {
		return netip.Prefix{}, errors.New("want an IPv4 address with the length of its network, such as 203.0.113.9/24")
	}
	return p, nil
}

func boolean(v string) (bool, error) {
	b, err := strconv.ParseBool(v)
	if err != nil {
		return false, errors.New("want true or false")
	}
	return b, nil
}

func integer(v string, low, high int) (int, error) {
	n, err := strconv.Atoi(v)
	if err != nil || n < low || n > high {
		return 0, fmt.Errorf("want a number from %d to %d", low, high)
	}
	return n, nil
}

func positive(v string) (float64, error) {
	f, err := strconv.ParseFloat(v, 64)
	if err != nil || !(f > 0) || f > 1e6 {
		return 0, errors.New("want a number above 0, such as 1.5")
	}
	return f, nil
}

// reservation turns GB of 1024 MiB into MiB, with -1 for nothing at all.
func reservation(v string) (int, error) {
	f, err := strconv.ParseFloat(v, 64)
	if err != nil || !(f >= 0) || f > 1<<20 {
		return 0, errors.New("want a number of GB, such as 5.0; 0 reserves nothing")
	}
	if mib := int(math.Round(f * 1024)); mib > 0 {
		return mib, nil
	}
	return -1, nil
}

// seconds reads a number of seconds or a duration with its unit.
func seconds(v string) (time.Duration, error) {
	d, err := time.ParseDuration(v)
	if err != nil {
		d, err = time.ParseDuration(v + "s")
	}
	if err != nil || d < time.Second || d > 10*365*24*time.Hour {
		return 0, errors.New("want a number of seconds, or a duration such as 90m, from 1 s to 10 years")
	}
	return d, nil
}

func secret(v string) (string, error) {
	if len(v) < 16 {
		return "", errors.New("want at least 16 bytes, hard to guess; unset it to have a random one made")
	}
	return v, nil
}

func level(v string) (slog.Level, error) {
	levels := map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}
	l, ok := levels[v]
	if !ok {
		return 0, errors.New("want one of debug, info, warn, error")
	}
	return l, nil
}
