package guest

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// wantModules are what the guest can use besides what Debian's cloud kernel has
// built in (NVMe, packet sockets): the buses, disks and network devices that
// QEMU offers, the config drive's file system, and the power button. The cloud
// kernel has no AHCI, USB storage or Intel and Realtek network drivers.
var wantModules = []string{
	"virtio_pci", "virtio_blk", "virtio_net", "virtio_rng", "virtio_scsi",
	"vmxnet3", "ata_piix", "sd_mod", "sr_mod", "isofs", "button", "evdev",
}

// module is one kernel module, as its .modinfo section describes it.
type module struct {
	name    string   // with underscores
	path    string   // below lib/modules/<release>
	depends []string // names
	aliases []string // patterns of the devices that it drives
	data    []byte
}

// readModules reads the wanted modules and all that they depend on, in an order
// in which they can be loaded. dir is lib/modules/<release>.
func readModules(dir string, want []string) ([]module, error) {
	paths, err := modulePaths(dir)
	if err != nil {
		return nil, err
	}
	var (
		order []module
		done  = map[string]bool{}
		visit func(name string) error
	)
	visit = func(name string) error {
		if done[name] {
			return nil
		}
		done[name] = true
		rel, ok := paths[name]
		if !ok {
			return fmt.Errorf("guest: kernel module %s is not below %s: is this Debian's cloud kernel?", name, dir)
		}
		m, err := readModule(dir, rel)
		if err != nil {
			return err
		}
		for _, dep := range m.depends {
			if err := visit(dep); err != nil {
				return fmt.Errorf("%w (needed by %s)", err, name)
			}
		}
		order = append(order, m)
		return nil
	}
	for _, name := range want {
		if err := visit(name); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// modulePaths finds every module below dir by its name. Files spell names with
// dashes or underscores; the kernel treats both alike.
func modulePaths(dir string) (map[string]string, error) {
	paths := map[string]string{}
	err := filepath.WalkDir(filepath.Join(dir, "kernel"), func(p string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(p, ".ko") {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		name := strings.ReplaceAll(strings.TrimSuffix(d.Name(), ".ko"), "-", "_")
		paths[name] = filepath.ToSlash(rel)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("guest: list kernel modules: %w", err)
	}
	return paths, nil
}

func readModule(dir, rel string) (module, error) {
	data, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(rel)))
	if err != nil {
		return module{}, fmt.Errorf("guest: read kernel module: %w", err)
	}
	file, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return module{}, fmt.Errorf("guest: kernel module %s: %w", rel, err)
	}
	section := file.Section(".modinfo")
	if section == nil {
		return module{}, fmt.Errorf("guest: kernel module %s has no .modinfo section", rel)
	}
	info, err := section.Data()
	if err != nil {
		return module{}, fmt.Errorf("guest: kernel module %s: %w", rel, err)
	}
	name := strings.ReplaceAll(strings.TrimSuffix(path.Base(rel), ".ko"), "-", "_")
	m := module{name: name, path: rel, data: data}
	for field := range strings.SplitSeq(string(info), "\x00") {
		key, value, _ := strings.Cut(field, "=")
		switch {
		case key == "depends" && value != "":
			for dep := range strings.SplitSeq(value, ",") {
				m.depends = append(m.depends, strings.ReplaceAll(dep, "-", "_"))
			}
		case key == "alias":
			m.aliases = append(m.aliases, value)
		}
	}
	return m, nil
}

// modulesDep and modulesAlias are the two indexes that modprobe reads, as depmod
// would write them.
func modulesDep(mods []module) []byte {
	byName := map[string]module{}
	for _, m := range mods {
		byName[m.name] = m
	}
	var out bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		fmt.Fprintf(&out, "%s:", byName[name].path)
		for _, dep := range closure(byName, name) {
			fmt.Fprintf(&out, " %s", byName[dep].path)
		}
		out.WriteByte('\n')
	}
	return out.Bytes()
}

// closure lists what name depends on, nearest first: modprobe loads from the end.
func closure(byName map[string]module, name string) []string {
	var list []string
	for queue := byName[name].depends; len(queue) > 0; queue = queue[1:] {
		dep := queue[0]
		// One met again is needed earlier still: move it to the end.
		list = append(slices.DeleteFunc(list, func(s string) bool { return s == dep }), dep)
		queue = append(slices.Clone(queue), byName[dep].depends...)
	}
	return list
}

func modulesAlias(mods []module) []byte {
	var lines []string
	for _, m := range mods {
		for _, alias := range m.aliases {
			lines = append(lines, fmt.Sprintf("alias %s %s\n", alias, m.name))
		}
	}
	slices.Sort(lines)
	return []byte(strings.Join(lines, ""))
}
