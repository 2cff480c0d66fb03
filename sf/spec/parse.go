package spec

import (
	"strconv"
	"strings"
)

// ParseDisk parses the short form of a disk, "size[@image]": "8@cirros:0.5.1",
// "20" (blank), "@debian:12" (the image's own size).
func ParseDisk(s string) (Disk, error) {
	size, base, hasBase := strings.Cut(s, "@")
	d := Disk{Base: base, Type: "disk"}
	if hasBase && base == "" {
		return Disk{}, Errorf(ErrInvalid, "disk %q: no image after the @", s)
	}
	if size == "" && hasBase {
		return d, nil
	}
	n, err := strconv.Atoi(size)
	if err != nil {
		return Disk{}, Errorf(ErrInvalid, "disk %q: the size before the @ is not a whole number of GB", s)
	}
	d.SizeGB = n
	return d, nil
}

// ParseDiskSpec parses the detailed form of a disk,
// "size=8,base=cirros,bus=ide,type=disk". Every key may be left out. A base may
// contain "=" and ",".
func ParseDiskSpec(s string) (Disk, error) {
	var d Disk
	err := parsePairs("disk", s, "base", func(key, value string) error {
		switch key {
		case "size":
			n, err := strconv.Atoi(value)
			if err != nil {
				return Errorf(ErrInvalid, "disk %q: size %q is not a whole number of GB", s, value)
			}
			d.SizeGB = n
		case "base":
			d.Base = value
		case "bus":
			d.Bus = value
		case "type":
			d.Type = value
		default:
			return Errorf(ErrInvalid, "disk %q: unknown key %q (known: size, base, bus, type)", s, key)
		}
		return nil
	})
	return d, err
}

// ParseInterface parses the short form of a network interface, "network[@address]".
func ParseInterface(s string) (InterfaceSpec, error) {
	network, address, hasAddress := strings.Cut(s, "@")
	if network == "" || hasAddress && address == "" {
		return InterfaceSpec{}, Errorf(ErrInvalid, "network %q: should be NETWORK or NETWORK@ADDRESS", s)
	}
	return InterfaceSpec{Network: network, Address: address, Model: "virtio"}, nil
}

// ParseInterfaceSpec parses the detailed form of a network interface,
// "network_uuid=…,address=…,macaddress=…,model=…,float=true".
func ParseInterfaceSpec(s string) (InterfaceSpec, error) {
	var i InterfaceSpec
	err := parsePairs("network", s, "", func(key, value string) error {
		switch key {
		case "network_uuid", "network":
			i.Network = value
		case "address":
			i.Address = value
		case "macaddress":
			i.MAC = value
		case "model":
			i.Model = value
		case "float":
			on, err := strconv.ParseBool(value)
			if err != nil {
				return Errorf(ErrInvalid, "network %q: float is true or false, not %q", s, value)
			}
			i.Float = on
		default:
			return Errorf(ErrInvalid, "network %q: unknown key %q (known: network_uuid, address, macaddress, model, float)", s, key)
		}
		return nil
	})
	if err == nil && i.Network == "" {
		return i, Errorf(ErrInvalid, "network %q: network_uuid is missing", s)
	}
	return i, err
}

// ParseVideo parses a graphics card, "model=cirrus,memory=16384"; what is left
// out is as in the zero Video.
func ParseVideo(s string) (Video, error) {
	v := Video{Model: "cirrus", MemoryKiB: 16384}
	err := parsePairs("video", s, "", func(key, value string) error {
		switch key {
		case "model":
			v.Model = value
		case "memory":
			n, err := strconv.Atoi(value)
			if err != nil {
				return Errorf(ErrInvalid, "video %q: memory %q is not a whole number of KiB", s, value)
			}
			v.MemoryKiB = n
		default:
			return Errorf(ErrInvalid, "video %q: unknown key %q (known: model, memory)", s, key)
		}
		return nil
	})
	return v, err
}

// parsePairs splits "k=v,k=v". A piece without "=" continues the value of the
// key before it where that is greedy: image URLs may contain commas.
func parsePairs(what, s, greedy string, set func(key, value string) error) error {
	type pair struct{ key, value string }
	var pairs []pair
	for piece := range strings.SplitSeq(s, ",") {
		key, value, ok := strings.Cut(piece, "=")
		last := len(pairs) - 1
		if !ok && last >= 0 && greedy != "" && pairs[last].key == greedy {
			pairs[last].value += "," + piece
			continue
		}
		if !ok || key == "" {
			return Errorf(ErrInvalid, "Error in %s specification - should be key=value: %s", what, piece)
		}
		pairs = append(pairs, pair{key, value})
	}
	for i, p := range pairs {
		for _, q := range pairs[:i] {
			if p.key == q.key {
				return Errorf(ErrInvalid, "%s %q: %s is given twice", what, s, p.key)
			}
		}
		if err := set(p.key, p.value); err != nil {
			return err
		}
	}
	return nil
}
