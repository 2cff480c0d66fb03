package guest

import (
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path"
)

// rootfs holds the guest's scripts; its layout is the guest's root directory's.
//
//go:embed rootfs
var rootfs embed.FS

// buildInitramfs makes the guest's root file system, an uncompressed archive:
// under software emulation unpacking costs more than reading.
func buildInitramfs(p Parts) ([]byte, error) {
	busybox, err := os.ReadFile(p.Busybox)
	if err != nil {
		return nil, fmt.Errorf("guest: read busybox: %w", err)
	}
	mods, err := readModules(p.Modules, wantModules)
	if err != nil {
		return nil, err
	}
	var w cpioWriter
	for _, dir := range []string{"bin", "sbin", "dev", "proc", "sys", "mnt", "root", "run", "tmp", "etc"} {
		w.dir(dir)
	}
	// The kernel opens this one for the first process, before devtmpfs is mounted.
	w.charDevice("dev/console", 0o600, 5, 1)
	w.file("bin/busybox", 0o755, busybox)
	w.symlink("sbin/init", "/bin/busybox")
	w.symlink("bin/sh", "busybox")             // init makes the other links
	w.symlink("sbin/modprobe", "/bin/busybox") // the kernel calls this one by itself
	if err := addScripts(&w); err != nil {
		return nil, err
	}
	addModules(&w, path.Join("lib/modules", p.Release), mods)
	return w.bytes(), nil
}

func addScripts(w *cpioWriter) error {
	return fs.WalkDir(rootfs, "rootfs", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := rootfs.ReadFile(p)
		if err != nil {
			return err
		}
		name := p[len("rootfs/"):]
		w.dir(path.Dir(name))
		w.file(name, 0o755, data) // embed keeps no modes, and an executable text does no harm
		return nil
	})
}

func addModules(w *cpioWriter, dir string, mods []module) {
	for _, m := range mods {
		name := path.Join(dir, m.path)
		w.dir(path.Dir(name))
		w.file(name, 0o644, m.data)
	}
	w.file(path.Join(dir, "modules.dep"), 0o644, modulesDep(mods))
	w.file(path.Join(dir, "modules.alias"), 0o644, modulesAlias(mods))
	w.file(path.Join(dir, "modules.symbols"), 0o644, nil)
}
